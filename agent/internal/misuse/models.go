package misuse

import (
	"math"
	"strings"

	"vertex-spoa/agent/internal/audit"
)

// modelsPerSubject is how many models of a caller are remembered. A caller who uses more of them is one who tries out models, for whom
// none is a surprise.
const modelsPerSubject = 16

// models remembers which models a caller uses.
type models struct {
	Used [modelsPerSubject]modelUse

	// How many models that are not usual the caller has taken up of late; fades.
	Adopted float32
	Day     int32 // of Adopted
}

type modelUse struct {
	ID  uint32 // 0 for none
	Day int32  // of the last use
}

// modelOf returns the number of a call's model, 0 for none. The version of a model is left out: a release of the same model is no new one.
// Two models that share a number, one in four billion pairs, are one.
func modelOf(r *audit.Record) uint32 {
	name := r.Model
	if name == "" {
		name = r.Endpoint
	}
	if name == "" {
		return 0
	}
	h := fnv(fnvStart, r.Publisher)
	h = fnv(fnv(h, "\x00"), withoutVersion(name))
	return uint32(h>>32) ^ uint32(h) | 1
}

// withoutVersion cuts what is a version in the names of Vertex AI's publishers: "@20250514", "@default" and "-001".
func withoutVersion(name string) string {
	name, _, _ = strings.Cut(name, "@")
	n := len(name)
	if n <= 4 || name[n-4] != '-' {
		return name
	}
	for _, digit := range []byte(name[n-3:]) {
		if digit < '0' || digit > '9' {
			return name
		}
	}
	return name[:n-4]
}

// touch marks a model as used and reports whether the caller has used it before. One that has not been takes the place of the one that
// was used least recently.
func (m *models) touch(id uint32, day int32) bool {
	oldest := 0
	for i := range m.Used {
		u := &m.Used[i]
		if u.ID == id {
			u.Day = day
			return true
		}
		if m.Used[oldest].ID != 0 && (u.ID == 0 || u.Day < m.Used[oldest].Day) {
			oldest = i
		}
	}
	m.Used[oldest] = modelUse{ID: id, Day: day}
	return false
}

const (
	// A caller's first models are no sign that it likes to try out others.
	firstModels = 3 * secondsPerDay
	// How many models of late that are not usual make a caller one who tries out models, and after how many days one of them counts half.
	manyModels     = 0.8
	modelsHalfLife = 30
)

// explorer tells whether the caller is one who tries out models.
func (m *models) explorer(day int32) bool {
	if gap := day - m.Day; gap > 0 {
		m.Adopted *= float32(math.Exp2(-float64(gap) / modelsHalfLife))
	}
	m.Day = day
	return m.Adopted >= manyModels
}

// FNV-1a, which is the same in each process, unlike the hashes of maps.
const (
	fnvStart = 14695981039346656037
	fnvPrime = 1099511628211
)

func fnv(h uint64, s string) uint64 {
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * fnvPrime
	}
	return h
}
