package identity

// rfc9068 are JWT access tokens as RFC 9068 defines them: section 2.1 for typ, section 2.2 for the claims. ID tokens never have this
// typ.
func rfc9068() profile {
	p := generic()
	p.types = []string{"at+jwt"}
	p.require = []string{"client_id", "iat", "jti"}
	p.clients = []string{"client_id"}
	p.access = true
	return p
}
