package body

// anthropic reads a request of Anthropic's Messages API.
func (d *document) anthropic(f *Facts) {
	f.Model = d.text(root, "model", asWritten)
	f.Stream = d.boolean(root, "stream", asWritten)
	f.MaxOutputTokens = d.count(root, "max_tokens", asWritten)
	f.Temperature = d.number(root, "temperature", asWritten)
	f.TopP = d.number(root, "top_p", asWritten)
	f.TopK = d.number(root, "top_k", asWritten)
	d.texts(&f.Betas, root, "anthropic_beta", asWritten)
	f.SystemInstruction = d.textOrBlocks(f, d.field(root, "system", asWritten), "system")
	for message := range d.elements(d.objects(root, "messages", asWritten)) {
		d.textOrBlocks(f, d.field(message, "content", asWritten), "content")
	}
	for tool := range d.elements(d.objects(root, "tools", asWritten)) {
		d.anthropicTool(f, tool)
	}
	for server := range d.elements(d.objects(root, "mcp_servers", asWritten)) {
		d.add(&f.Tools, "mcp:"+d.text(server, "name", asWritten).Value, server)
	}
}

// anthropicTool reads one tool: a function of the caller's own, or one of Anthropic's, which its type names.
func (d *document) anthropicTool(f *Facts, tool value) {
	if kind := d.text(tool, "type", asWritten); kind.Set && kind.Value != "custom" {
		d.add(&f.Tools, kind.Value, tool)
		return
	}
	d.function(f, tool, asWritten)
}

// textOrBlocks reads what is either a text or a list of blocks, and reports whether it is not empty.
func (d *document) textOrBlocks(f *Facts, v value, name string) bool {
	if v == absent {
		return false
	}
	switch n := &d.nodes[v]; n.kind {
	case text:
		return n.end > n.start
	case list:
		for block := range d.elements(v) {
			if block = d.is(block, object, name); block != absent {
				d.block(f, block)
			}
		}
		return d.some(v)
	}
	d.fail(WrongType, name, v)
	return false
}

// block reads one block of a message. The result of a tool has blocks of its own. What is neither known to be text nor has a source is
// media of an unknown type.
func (d *document) block(f *Facts, block value) {
	kind := d.text(block, "type", asWritten).Value
	switch kind {
	case "text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "search_result", "web_search_tool_result":
		return
	case "tool_result", "mcp_tool_result":
		d.textOrBlocks(f, d.field(block, "content", asWritten), "content")
		return
	}
	source := d.object(block, "source", asWritten)
	switch d.text(source, "type", asWritten).Value {
	case "text":
	case "content":
		d.textOrBlocks(f, d.field(source, "content", asWritten), "content")
	case "url":
		d.url(f, d.field(source, "url", asWritten), "url", guess(kind), block)
	case "base64":
		d.media(f, d.text(source, "media_type", asWritten), block)
	default: // a file by its id, or what is to come
		d.media(f, Opt[string]{}, block)
		d.file(f, absent, "source", block)
	}
}

// guess returns the type of media that are only known to be an image, or a document.
func guess(kind string) string {
	if kind == "image" {
		return "image/*"
	}
	return unknown
}
