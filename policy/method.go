package policy

// Group is a set of Vertex methods that rules name together. Every call belongs to exactly one group.
//
//	generate  generateContent, chat.completions; rawPredict on models of other publishers than google
//	stream    streamGenerateContent, serverStreamingPredict, streamRawPredict
//	count     countTokens, computeTokens; every call to Anthropic's model count-tokens
//	embed     embedContent, embeddings; predict on Google's embedding models (names that contain "embedding")
//	predict   predict, predictLongRunning, fetchPredictOperation, rawPredict, explain, directPredict, directRawPredict
//	list      models.list, models.get
//	admin     every call beyond these (Call.Surface); the group allows none of them, a rule has to name the method exactly
//
// The exceptions follow what the calls do: client libraries embed text with predict, and the models of Anthropic, Mistral and other
// partners are generated with through rawPredict. A streamed answer is a group of its own: "generate" alone does not allow it.
type Group string

// The groups.
const (
	GroupGenerate Group = "generate"
	GroupStream   Group = "stream"
	GroupCount    Group = "count"
	GroupEmbed    Group = "embed"
	GroupPredict  Group = "predict"
	GroupList     Group = "list"
	GroupAdmin    Group = "admin"
)

// Method names that are not verbs of a path.
const (
	chatCompletions = "chat.completions"
	embeddings      = "embeddings"
	modelsList      = "models.list"
	modelsGet       = "models.get"
)

// Where a method occurs.
const (
	onModels    = 1 << iota // as a verb after a publisher's model
	onEndpoints             // as a verb after an endpoint
)

type method struct {
	name  string
	group Group
	on    uint8
}

// methods is the table of all calls this package knows; it is never written to. The bit of a method in a methodSet is its place here.
var methods = [...]method{
	{"generateContent", GroupGenerate, onModels | onEndpoints},
	{"streamGenerateContent", GroupStream, onModels | onEndpoints},
	{"countTokens", GroupCount, onModels | onEndpoints},
	{"computeTokens", GroupCount, onModels | onEndpoints},
	{"embedContent", GroupEmbed, onModels | onEndpoints},
	{"predict", GroupPredict, onModels | onEndpoints},
	{"predictLongRunning", GroupPredict, onModels | onEndpoints},
	{"fetchPredictOperation", GroupPredict, onModels | onEndpoints},
	{"rawPredict", GroupPredict, onModels | onEndpoints},
	{"streamRawPredict", GroupStream, onModels | onEndpoints},
	{"serverStreamingPredict", GroupStream, onModels | onEndpoints},
	{"explain", GroupPredict, onEndpoints},
	{"directPredict", GroupPredict, onEndpoints},
	{"directRawPredict", GroupPredict, onEndpoints},
	{chatCompletions, GroupGenerate, 0},
	{embeddings, GroupEmbed, 0},
	{modelsList, GroupList, 0},
	{modelsGet, GroupList, 0},
}

// groups lists the groups; it is never written to. The bit of a group in a methodSet is its place here, after those of the methods.
var groups = [...]Group{GroupGenerate, GroupStream, GroupCount, GroupEmbed, GroupPredict, GroupList, GroupAdmin}

// methodSet has one bit for each method and one for each group: the set of a call has two bits, that of a rule those it names. A
// rule concerns a call when they have a bit in common.
type methodSet uint32

const allMethods = ^methodSet(0)

// methodBits returns the set of all methods and groups that have the name: "predict" is both.
func methodBits(name string) methodSet {
	var set methodSet
	for i := range methods {
		if methods[i].name == name {
			set |= 1 << i
		}
	}
	for i := range groups {
		if string(groups[i]) == name {
			set |= 1 << (len(methods) + i)
		}
	}
	return set
}

// callBits returns the set of a call: its method and its group. It is empty for a call that ParseCall did not make.
func callBits(c Call) methodSet {
	for i := range methods {
		if methods[i].name != c.Method {
			continue
		}
		for j := range groups {
			if groups[j] == c.Group {
				return 1<<i | 1<<(len(methods)+j)
			}
		}
	}
	return 0
}

// findVerb returns the method that is written as the verb of a path.
func findVerb(name string, on uint8) (method, bool) {
	for _, m := range methods {
		if m.name == name && m.on&on != 0 {
			return m, true
		}
	}
	return method{}, false
}
