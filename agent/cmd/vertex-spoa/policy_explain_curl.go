package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readCurl takes the call, its token and its body from a command of curl. Other flags that say the same thing are left as they are.
func (f *explainFlags) readCurl() error {
	words, err := splitWords(f.curl)
	if err != nil {
		return err
	}
	if len(words) > 0 && words[0] == "curl" {
		words = words[1:]
	}
	for i := 0; i < len(words); i++ {
		name, value := curlOption(words[i])
		takes := slices.Contains([]string{"request", "header", "data", "url"}, name)
		if takes && value == "" {
			if i++; i == len(words) {
				return fmt.Errorf("%s needs a value", words[i-1])
			}
			value = words[i]
		}
		switch name {
		case "request":
			setFlag(&f.method, value)
		case "header":
			f.readHeader(value)
		case "data":
			setFlag(&f.body, dataFile(value))
		case "url":
			setFlag(&f.path, value)
		case "":
			option, _, _ := strings.Cut(words[i], "=") // the rest may be a secret
			return fmt.Errorf("option %.24s is not known here", option)
		}
	}
	if f.path == "" {
		return errors.New("no URL in it")
	}
	return nil
}

// setFlag sets a flag that was not given.
func setFlag(to *string, value string) {
	if *to == "" {
		*to = value
	}
}

// curlOption returns what an option of curl is about, and its value if that is written beside it. A word that is none is the URL. Options
// that change nothing about the call are "ignored".
func curlOption(word string) (name, value string) {
	if word == "" || word[0] != '-' {
		return "url", word
	}
	option, value, _ := strings.Cut(word, "=")
	if !strings.HasPrefix(word, "--") && len(word) > 2 {
		option, value = word[:2], word[2:]
	}
	switch option {
	case "-X", "--request":
		return "request", value
	case "-H", "--header":
		return "header", value
	case "-d", "--data", "--data-raw", "--data-binary", "--json":
		return "data", value
	case "--url":
		return "url", value
	case "-s", "-S", "-i", "-v", "-k", "-N", "-f", "-L", "--silent", "--show-error", "--include", "--verbose", "--insecure", "--no-buffer",
		"--fail", "--fail-with-body", "--location", "--compressed":
		return "ignored", ""
	}
	return "", ""
}

// dataFile returns the file that a body of curl stands for.
func dataFile(value string) string {
	if name, ok := strings.CutPrefix(value, "@"); ok {
		return name
	}
	return literalFile + value
}

// readHeader takes over a field that the decision depends on.
func (f *explainFlags) readHeader(field string) {
	name, value, _ := strings.Cut(field, ":")
	value = strings.TrimSpace(value)
	switch name = strings.ToLower(name); name {
	case "authorization", "cf-access-jwt-assertion", "x-goog-iap-jwt-assertion":
		if f.claims == "" && f.token == "" {
			f.token, f.header = literalFile+value, name
		}
	case "x-vertex-role":
		setFlag(&f.role, value)
	case "x-vertex-reason":
		setFlag(&f.reason, value)
	case "x-vertex-ai-llm-request-type":
		setFlag(&f.tier, value)
	case "x-vertex-ai-llm-shared-request-type":
		setFlag(&f.sharedTier, value)
	}
}

// splitWords splits a command as a shell does: at spaces, with quotes and backslashes. Nothing is expanded.
func splitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune("\"\\$`\n", c) {
				word.WriteRune('\\')
			}
			if c != '\n' {
				word.WriteRune(c)
			}
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '\'' || c == '"':
			quote, inWord = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord && word.Len() > 0 {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quotation does not end")
	}
	if inWord && word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}
