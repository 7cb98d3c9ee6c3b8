package format

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/policy/strictyaml"
)

// formatted formats a text, and again, and fails when the second time changes anything.
func formatted(t *testing.T, name, text string) string {
	t.Helper()
	once, err := Source(name, []byte(text))
	if err != nil {
		t.Fatalf("%v of:\n%s", err, text)
	}
	twice, err := Source(name, once)
	if err != nil {
		t.Fatalf("the second time: %v of:\n%s", err, once)
	}
	if diff := cmp.Diff(string(once), string(twice)); diff != "" {
		t.Fatalf("formatting again changes the text (-once +twice):\n%s", diff)
	}
	return string(once)
}

func TestSource(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"keys stand in the order of the language", `
rules:
  b: { models: x, allow: y }
  a: { deny: z }
version: 1
`, `
version: 1

rules:
  b: { allow: y, models: x }
  a: { deny: z }
`},
		{"free names and lists stay in their order", `
version: 1
roles:
  z: { who: { b: { sub: x, aud: y }, a: { sub: z } }, as: vx }
  a: { as: vx, who: { c: { sub: x } } }
include: [{ may: { as: x, roles: z }, path: b }, { path: a }]
`, `
version: 1
include: [{ path: b, may: { roles: z, as: x } }, { path: a }]

roles:
  z: { as: vx, who: { b: { sub: x, aud: y }, a: { sub: z } } }
  a: { as: vx, who: { c: { sub: x } } }
`},
		{"unknown keys come last", `
nonsense: 1
version: 1
`, `
version: 1
nonsense: 1
`},
		{"columns, as far as lines do not become too long by them", `
roles:
  a: { as: b, who: c }
  abc: { as: bcd, who: cde, token: d }
  # apart
  x: { as: b, who: c }
  long: { as: vx, who: { corp: { groups: [` + strings.Repeat("g, ", 30) + `g] } } }
`, `
roles:
  a:   { as: b,   who: c }
  abc: { as: bcd, who: cde, token: d }
  # apart
  x:    { as: b,  who: c }
  long: { as: vx, who: { corp: { groups: [` + strings.Repeat("g, ", 30) + `g] } } }
`},
		{"what is too long for a line becomes a block", `
rules:
  a: { allow: b, models: [` + strings.Repeat("gemini-2.5-flash-001, ", 10) + `x] }
`, `
rules:
  a:
    allow: b
    models:
` + strings.Repeat("      - gemini-2.5-flash-001\n", 10) + `      - x
`},
		{"comments stay with what they are about", `
# yaml-language-server: $schema=./policy.schema.json
# first

# of rules
rules: # the rules
  # of b
  b: # here
    models: x # which
    # of allow
    allow: y # who
    # end of b

  # end of rules
# of version
version: 1 # one
# end
`, `
# yaml-language-server: $schema=./policy.schema.json
# first

# of version
version: 1  # one

# of rules
rules:         # the rules
  # of b
  b:           # here
    # of allow
    allow: y   # who
    models: x  # which
    # end of b

  # end of rules
# end
`},
		{"comments within braces make a block of them", `
rules:
  a: { allow: b, # who
       models: [x, # first
                y
                # no more
               ], # which
       # end
     } # a
  b: [ # open
    x ]
`, `
rules:
  a:          # a
    allow: b  # who
    models:   # which
      - x     # first
      - y
      # no more
    # end
  b: [x]      # open
`},
		{"a comment behind an element makes a block", `
rules: { a: [x, # first
  y] }
`, `
rules:
  a:
    - x  # first
    - y
`},
		{"lists", `
rules:
  a:
    allow:
    - b
    -   c  # c
    # d
    - d
    body:
    - - x
      - y
    - k: v
      # m
      l: w
    - # dash
      k: v
    -
      k: v
`, `
rules:
  a:
    allow:
      - b
      - c  # c
      # d
      - d
    body:
      - - x
        - y
      - k: v
        # m
        l: w
      # dash
      - k: v
      - k: v
`},
		{"texts of several lines", "\n" + `
rules:
  a:
      when: |  # kept
            claims.a == 1 &&

              claims.b == 2 # no comment
      because: >-
            x
            y
      allow: one
        two   # three
      models: "a
         b"
      deny: 'it''s'
      percent: |2
           two spaces
      mode: |+
        keep

  b: {allow: one
    two, models: [ "x
     y" ]}
`, `
rules:
  a:
    allow: one
      two    # three
    deny: 'it''s'
    models: "a
      b"
    when: |  # kept
      claims.a == 1 &&

        claims.b == 2 # no comment
    mode: |+
      keep

    percent: |2
         two spaces
    because: >-
      x
      y
  b: { allow: one two, models: ["x y"] }
`},
		{"quotes, empty values and odd keys stay as they are", `
"version": '1'
rules: {a: {allow: "b", 'x y': null, e: ~, f: [], g: {}, h: ""}, ? b : c}
roles:
`, `
"version": '1'
roles:
rules: { a: { allow: "b", 'x y': null, e: ~, f: [], g: {}, h: "" }, b: c }
`},
		{"values below their keys, blank lines, marks of documents, ends of lines", "--- # start\nversion:\n  1\n\n\n\nrules:\r\n\r\n  a:\r\n    allow: b   \r\n\n\n\n  c:\n\n    allow: d\n...\n\n", `
# start
version: 1

rules:
  a:
    allow: b

  c:
    allow: d
`},
		{"widths are those of characters", `
rules:
  ä: { allow: ö } # ü
  bb: { allow: b } # c
`, `
rules:
  ä:  { allow: ö }  # ü
  bb: { allow: b }  # c
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := formatted(t, "policy.yaml", test.text)
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), got); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSourceOfTestsPutsWhatIsWantedLast(t *testing.T) {
	got := formatted(t, "search_test.yaml", `
tests:
  - { want: allow, body: { b: 1, a: 2 }, call: x, as: alice }
callers: { z: { corp: { sub: z, aud: a } }, a: { corp: { sub: a } } }
`)
	want := `callers: { z: { corp: { sub: z, aud: a } }, a: { corp: { sub: a } } }

tests:
  - { as: alice, call: x, body: { b: 1, a: 2 }, want: allow }
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}

// Source returns nothing that differs from what it was given.
func TestDiffers(t *testing.T) {
	const text = "a: { b: [c, '1'] } # d\n"
	for other, want := range map[string]string{
		"# d\na:\n  b:\n    - c\n    - '1'\n": "",
		"a: { b: [c, '1'] }\n":                "a comment would be lost",
		"a: { b: [c, '1'] } # e\n":            "a comment would be lost",
		"a: { b: ['1', c] } # d\n":            `"1" in place of "c"`,
		"a: { b: [c, 1] } # d\n":              `"1" in place of "1"`,
		"a: { b: [c] } # d\n":                 "the shape of a value",
		"a: { b: {c: '1'} } # d\n":            "the shape of a value",
		"a: { x: [c, '1'] } # d\n":            `the key "b"`,
		"a: { b: [c, ''] } # d\n":             `"" in place of "1"`,
	} {
		one, err := parse("one.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		two, err := parse("two.yaml", []byte(other))
		if err != nil {
			t.Fatal(err)
		}
		if got := one.differs(two); got != want {
			t.Errorf("%q: got %q, want %q", other, got, want)
		}
	}
}

func TestSourceRefusesWhatIsNoDocument(t *testing.T) {
	for _, text := range []string{"", "# c\n", "a: b: c\n", "a: 1\na: 2\n", "a: &x b\nc: *x\n", "a: !t b\n", "a\t: b\n\t- c\n", "\xff", "a: 1\n---\nb: 2\n"} {
		out, err := Source("p.yaml", []byte(text))
		var problems *strictyaml.Error
		if out != nil || !errors.As(err, &problems) {
			t.Errorf("%q: got %q, %v, want a *strictyaml.Error", text, out, err)
		}
	}
}

// texts returns all files of policies of the project.
func texts(t testing.TB) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, pattern := range []string{"../testdata/*/*.yaml", "../../haproxy-example/policy.d/*.yaml"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(data)
		}
	}
	if len(files) < 20 {
		t.Fatalf("only %d files were found", len(files))
	}
	return files
}

func TestSourceFormatsEveryFileThatIsYAML(t *testing.T) {
	count := 0
	for name, text := range texts(t) {
		var problems strictyaml.Problems
		strictyaml.Parse(name, []byte(text), &problems)
		if problems.Len() > 0 {
			continue
		}
		count++
		formatted(t, name, text)
	}
	if count < 15 {
		t.Errorf("only %d files were YAML", count)
	}
}

// FuzzSource: whatever is YAML and can be formatted holds the same values and comments afterwards, and is not changed a second time.
// Source sees to that itself; here another reading does.
func FuzzSource(f *testing.F) {
	for _, text := range texts(f) {
		f.Add(text)
	}
	for _, text := range []string{"a: {b: [c, # d\n e]} # f\n# g\n", "a:\n- b: |2+\n     c\n\n- >\n d\n", "? a\n: 'b\n\n  c'\n", "a: \"b\\\n  c\"\n#", "rules: {z: {models: a, allow: b}}\nversion: 1",
		"a: |-\n\n", "a: |+\n\n", "a: |{]\n", "a: it\u00a0is\n", "a: b\u3000c\n"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		once, err := Source("policy.yaml", []byte(text))
		if err != nil {
			if once != nil {
				t.Fatal("a text beside an error")
			}
			return
		}
		var before, after strictyaml.Problems
		want := tree(strictyaml.Parse("f", []byte(text), &before))
		got := tree(strictyaml.Parse("f", once, &after))
		if after.Len() > 0 {
			t.Fatalf("the new text is not read: %v\n%s", after.Err(), once)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("values (-before +after):\n%s", diff)
		}
		if a, b := strings.Count(text, "#"), strings.Count(string(once), "#"); a != b {
			t.Fatalf("%d marks of comments became %d:\n%s", a, b, once)
		}
		twice, err := Source("policy.yaml", once)
		if err != nil || string(twice) != string(once) {
			t.Fatalf("the second time: %v\n%s\n%s", err, once, twice)
		}
	})
}

// tree returns the values of a document; the order of keys is no part of them.
func tree(n *strictyaml.Node) any {
	var ignored strictyaml.Problems
	switch n.Kind {
	case strictyaml.List:
		list := []any{}
		for _, item := range n.Items(&ignored) {
			list = append(list, tree(item))
		}
		return list
	case strictyaml.Mapping:
		m := map[string]any{}
		for _, e := range n.Entries(&ignored) {
			m[e.Name()] = tree(e.Value)
		}
		return m
	}
	text, _ := n.Text(&ignored)
	return text
}

func BenchmarkSource(b *testing.B) {
	var text strings.Builder
	text.WriteString("version: 1\nrules:\n")
	for range 1000 {
		text.WriteString("  rule-" + strings.Repeat("x", text.Len()%7) + string(rune('a'+text.Len()%26)) + "-" + strings.Repeat("y", 3) +
			itoa(text.Len()) + ":\n    models: [gemini-2.5-*, text-embedding-*] # which\n    allow: team\n")
	}
	data := []byte(text.String())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Source("policy.yaml", data); err != nil {
			b.Fatal(err)
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
