package strictyaml

// Suggest returns ` (did you mean "x"?)` for the candidate nearest to word, or "" when none is near. Of two that are equally near the
// earlier wins. A candidate is near when at most a third of its letters, and at least one, would have to be typed differently.
func Suggest(word string, candidates []string) string {
	const longest = 64
	best, bestDistance := "", 0
	if len(word) > longest {
		return ""
	}
	for _, c := range candidates {
		limit := max(1, min(len(c), len(word))/3)
		d := distance(word, c)
		if len(c) <= longest && d <= limit && d < min(len(c), len(word)) && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + Quote(best) + "?)"
}

// distance returns the number of bytes to insert, delete, replace or swap with their neighbour to make a into b (optimal string
// alignment).
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	last := make([]int, len(b)+1)
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, before
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
