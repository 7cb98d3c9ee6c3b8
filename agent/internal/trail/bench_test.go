package trail

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// busyFile returns a log of TRAIL_LINES lines (200,000 if that is not set); it stays at TRAIL_FILE if that is.
func busyFile(b *testing.B) (path string, lines int) {
	lines = 200_000
	if n, err := strconv.Atoi(os.Getenv("TRAIL_LINES")); err == nil {
		lines = n
	}
	if path = os.Getenv("TRAIL_FILE"); path == "" {
		path = filepath.Join(b.TempDir(), "audit.jsonl")
	} else if _, err := os.Stat(path); err == nil {
		return path, lines
	}
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := busyLines(f, lines); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
	return path, lines
}

func BenchmarkWho(b *testing.B) {
	path, lines := busyFile(b)
	files, err := Open([]string{path}, nil)
	if err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]Question{
		"all":   {By: []Dimension{Subject, Issuer}},
		"model": {By: []Dimension{Subject, Issuer}, Filter: Filter{Match: map[Dimension]string{Model: "gemini-2.5-flash-0*"}, Since: at(10)}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(files.Size())
			for b.Loop() {
				a, err := Ask(context.Background(), files, q)
				if err != nil {
					b.Fatal(err)
				}
				if !a.Notes.Whole() || a.Notes.Lines < lines || len(a.Rows) != 500 {
					b.Fatalf("got %d rows, %+v", len(a.Rows), a.Notes)
				}
			}
			b.ReportMetric(float64(lines)*float64(b.N)/b.Elapsed().Seconds(), "lines/s")
		})
	}
}

func BenchmarkParse(b *testing.B) {
	p := newParser()
	text := []byte(wholeLine)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.parse(text); err != nil {
			b.Fatal(err)
		}
	}
}
