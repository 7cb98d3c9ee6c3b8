package trail

import "time"

// parseTime parses a time of RFC 3339 as µs since 1970. The form that the log is written in takes a short way.
func parseTime(b []byte) (micros int64, ok bool) {
	if micros, ok = parseLogTime(b); ok {
		return micros, true
	}
	t, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return 0, false
	}
	return t.UnixMicro(), true
}

// parseLogTime parses a time as the log has it, 2006-01-02T15:04:05.000000Z.
func parseLogTime(b []byte) (micros int64, ok bool) {
	const form = "0000-00-00T00:00:00.000000Z"
	if len(b) != len(form) {
		return 0, false
	}
	for i := range len(form) {
		if digit := b[i]-'0' <= 9; digit != (form[i] == '0') || !digit && b[i] != form[i] {
			return 0, false
		}
	}
	year, month, day := digits(b[0:4]), digits(b[5:7]), digits(b[8:10])
	hour, minute, second := digits(b[11:13]), digits(b[14:16]), digits(b[17:19])
	if month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	days := daysBefore(year, month) + day - 1
	return (((days*24+hour)*60+minute)*60+second)*1e6 + digits(b[20:26]), true
}

func digits(b []byte) (n int64) {
	for _, c := range b {
		n = n*10 + int64(c-'0')
	}
	return n
}

func daysIn(year, month int64) int64 {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysBefore returns how many days lie between 1970-01-01 and the first day of the month, in the Gregorian calendar. Years are counted from
// March, so that the day a leap year has more is the last one.
func daysBefore(year, month int64) int64 {
	if month -= 3; month < 0 {
		month, year = month+12, year-1
	}
	year += 400 // so that nothing is negative
	return year*365 + year/4 - year/100 + year/400 + (month*153+2)/5 - 719468 - 146097
}

// micros returns t as µs since 1970.
func micros(t time.Time) int64 { return t.UnixMicro() }

// timeOf is the inverse of micros, in UTC.
func timeOf(micros int64) time.Time { return time.UnixMicro(micros).UTC() }
