package trial

import (
	"encoding/xml"
	"fmt"
	"io"
	"time"
)

// The elements of a JUnit report, as far as test runners and CI systems agree about them.
type (
	junitSuites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Time     string   `xml:"time,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Suites   []junitSuite
	}
	junitSuite struct {
		XMLName  xml.Name `xml:"testsuite"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Time     string   `xml:"time,attr"`
		Cases    []junitCase
	}
	junitCase struct {
		XMLName xml.Name      `xml:"testcase"`
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitFailure `xml:"failure,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes the report as JUnit XML: a test suite for each file, a test case for each test, its file as the class.
func (r *Report) WriteJUnit(w io.Writer) error {
	all := junitSuites{Name: "policy " + r.Policy}
	var took time.Duration
	for i := range r.Suites {
		s, suiteTook := r.Suites[i].junit()
		all.Suites = append(all.Suites, s)
		took += suiteTook
	}
	all.Tests, all.Failures = r.Count()
	all.Time = seconds(took)
	data, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit report: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}

func (s *SuiteResult) junit() (junitSuite, time.Duration) {
	suite := junitSuite{Name: s.File, Tests: len(s.Results), Failures: s.failed()}
	var took time.Duration
	for i := range s.Results {
		t := &s.Results[i]
		took += t.Took
		c := junitCase{Name: t.Test.Name, Class: s.File, Time: seconds(t.Took)}
		if t.Failed() {
			c.Failure = &junitFailure{
				Message: t.Wrong[1], Type: "decision",
				Text: fmt.Sprintf("%s:%d:%d\n%s", s.File, t.Test.Line, t.Test.Column, t.text("")),
			}
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = seconds(took)
	return suite, took
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.6f", d.Seconds()) }
