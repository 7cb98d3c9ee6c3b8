package status

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"alice@example.com", "alice@example.com"},
		{"Zoë Müller, 山田太郎, Ольга, עברית, हिन्दी", "Zoë Müller, 山田太郎, Ольга, עברית, हिन्दी"},
		{"👍", "👍"},
		{"ad\u202emin", `ad\u202emin`},
		{"a\u2066b\u2069", `a\u2066b\u2069`},
		{"a\u200bb\u00adc\ufeffd", `a\u200bb\xadc\ufeffd`},
		{"a\x00b\x1b[31mc\x7f\u0085", `a\x00b\x1b[31mc\x7f\x85`},
		{"a\nb\tc", `a\x0ab\x09c`},
		{"a\u00a0b\u3000c\u2028d", `a\xa0b\u3000c\u2028d`},
		{"a\xffb\xc3", `a\xffb\xc3`},
		{"\u3164\u2800\U000e0041", `\u3164\u2800\U000e0041`},
		{"z\u0301\u0302\u0303\u0304\u0305", "z\u0301\u0302\u0303" + `\u0304\u0305`},
		{"\ufffd", "\ufffd"},
	} {
		if got := Visible(tt.in); got != tt.want {
			t.Errorf("Visible(%+q) = %+q, want %+q", tt.in, got, tt.want)
		}
	}
	if got, want := VisibleLines("a\n\tb\r\x1b"), "a\n\tb"+`\x0d\x1b`; got != want {
		t.Errorf("VisibleLines: got %q, want %q", got, want)
	}
}

func FuzzVisible(f *testing.F) {
	for _, seed := range []string{"", "alice", "a\u202eb", "\xff\xfe", "z\u0301\u0301\u0301\u0301\u0301", "<b>&\"'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Visible(s)
		if !utf8.ValidString(got) {
			t.Errorf("%q is not UTF-8", got)
		}
		for _, r := range got {
			if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Cs, unicode.Co) {
				t.Errorf("%+q has %U", got, r)
			}
		}
		if again := Visible(got); again != got {
			t.Errorf("%+q becomes %+q", got, again)
		}
		if len(got) > 10*len(s) {
			t.Errorf("%d bytes became %d", len(s), len(got))
		}
	})
}
