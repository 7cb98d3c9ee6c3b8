package doctor

// Reason says, to a program, what is wrong. The set is closed: see Reasons.
type Reason string

// The reasons.
const (
	// The way to a server.
	NameUnknown       Reason = "NAME_UNKNOWN"       // its name does not resolve
	ConnectionRefused Reason = "CONNECTION_REFUSED" // nobody listens there, or something refuses on its behalf
	HostUnreachable   Reason = "HOST_UNREACHABLE"   // no route leads there
	ConnectionLost    Reason = "CONNECTION_LOST"    // the connection broke
	NoAnswer          Reason = "NO_ANSWER"          // nothing came in time
	ProxyUnreachable  Reason = "PROXY_UNREACHABLE"  // the egress proxy itself cannot be reached
	ProxyRefused      Reason = "PROXY_REFUSED"      // the egress proxy does not open the way
	AuthorityUnknown  Reason = "AUTHORITY_UNKNOWN"  // TLS: nobody who is trusted signed the server's certificate
	CertificateWrong  Reason = "CERTIFICATE_WRONG"  // TLS: the certificate is of another host, or not valid now
	TLSFailed         Reason = "TLS_FAILED"         // the handshake failed otherwise

	// The agent's own identity.
	EnvironmentRefused Reason = "ENVIRONMENT_REFUSED" // a variable would make libraries print tokens
	NoMetadataServer   Reason = "NO_METADATA_SERVER"  // there is no credential file, and no metadata server either
	NoServiceAccount   Reason = "NO_SERVICE_ACCOUNT"  // none is attached to the machine
	CredentialFile     Reason = "CREDENTIAL_FILE"     // it cannot be read, or is not one
	CredentialsRefused Reason = "CREDENTIALS_REFUSED" // Google does not accept what the file says, or there is no token to send
	LongLivedSecret    Reason = "LONG_LIVED_SECRET"   // warning: the file holds a key

	// Issuers and callers.
	IssuerAnswer  Reason = "ISSUER_ANSWER"  // it answers with something else than its configuration and keys
	IssuerFile    Reason = "ISSUER_FILE"    // a file that its configuration names cannot be read
	NoUsableKeys  Reason = "NO_USABLE_KEYS" // its keys are none that can verify a token
	KeysDropped   Reason = "KEYS_DROPPED"   // warning: some of its keys cannot be used
	CallerRefused Reason = "CALLER_REFUSED" // the agent does not accept the token that was handed in

	// Tokens of roles, and calls with them.
	PermissionMissing   Reason = "PERMISSION_MISSING"
	AccountMissing      Reason = "ACCOUNT_MISSING"
	APIDisabled         Reason = "API_DISABLED"
	ScopeMissing        Reason = "SCOPE_MISSING"
	LifetimeRefused     Reason = "LIFETIME_REFUSED"
	LifetimeShort       Reason = "LIFETIME_SHORT" // warning: less was granted than was asked for
	QuotaExceeded       Reason = "QUOTA_EXCEEDED"
	GoogleUnavailable   Reason = "GOOGLE_UNAVAILABLE" // Google answered that it cannot answer
	AnswerInvalid       Reason = "ANSWER_INVALID"     // what came is no token, or Google did not take the request
	ExchangeRefused     Reason = "EXCHANGE_REFUSED"   // Google does not accept the caller's token
	ExchangeUnsupported Reason = "EXCHANGE_UNSUPPORTED"
	ProviderMissing     Reason = "PROVIDER_MISSING"
	ModelMissing        Reason = "MODEL_MISSING"   // or it is not served in that location
	ProjectRefused      Reason = "PROJECT_REFUSED" // it does not exist, has no billing, or lies behind a perimeter
	TokenNotAccepted    Reason = "TOKEN_REFUSED"   // Vertex AI does not accept the token that was minted
	VertexRefused       Reason = "REQUEST_REFUSED" // Vertex AI refused the call for another reason
	NotChecked          Reason = "NOT_CHECKED"     // something it needs is missing
)

// Reasons returns every Reason.
func Reasons() []Reason {
	return []Reason{
		NameUnknown, ConnectionRefused, HostUnreachable, ConnectionLost, NoAnswer, ProxyUnreachable, ProxyRefused, AuthorityUnknown,
		CertificateWrong, TLSFailed,
		EnvironmentRefused, NoMetadataServer, NoServiceAccount, CredentialFile, CredentialsRefused, LongLivedSecret,
		IssuerAnswer, IssuerFile, NoUsableKeys, KeysDropped, CallerRefused,
		PermissionMissing, AccountMissing, APIDisabled, ScopeMissing, LifetimeRefused, LifetimeShort, QuotaExceeded, GoogleUnavailable,
		AnswerInvalid, ExchangeRefused, ExchangeUnsupported, ProviderMissing, ModelMissing, ProjectRefused, TokenNotAccepted, VertexRefused,
		NotChecked,
	}
}
