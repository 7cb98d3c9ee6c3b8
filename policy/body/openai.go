package body

// openAI reads a request of the Chat Completions or Embeddings API, with what Vertex AI adds under extra_body.google.
func (d *document) openAI(f *Facts) {
	f.Model = d.text(root, "model", asWritten)
	f.Stream = d.boolean(root, "stream", asWritten)
	f.MaxOutputTokens = wider(d.count(root, "max_tokens", asWritten), d.count(root, "max_completion_tokens", asWritten))
	f.Candidates = d.count(root, "n", asWritten)
	f.Temperature = d.number(root, "temperature", asWritten)
	f.TopP = d.number(root, "top_p", asWritten)
	f.TopK = d.number(root, "top_k", asWritten)
	f.Instances = d.inputs(d.field(root, "input", asWritten))
	for message := range d.elements(d.objects(root, "messages", asWritten)) {
		d.message(f, message)
	}
	for tool := range d.elements(d.objects(root, "tools", asWritten)) {
		d.openAITool(f, tool)
	}
	for declaration := range d.elements(d.objects(root, "functions", asWritten)) {
		d.function(f, declaration, asWritten)
	}
	if search := d.object(root, "web_search_options", asWritten); search != absent {
		d.add(&f.Tools, "googleSearch", search)
	}
	d.extra(f, root)
	d.extra(f, d.object(root, "extra_body", asWritten))
}

// extra reads what is Vertex AI's own.
func (d *document) extra(f *Facts, v value) {
	google := d.object(v, "google", asWritten)
	if google == absent {
		return
	}
	if cached := d.text(google, "cachedContent", proto); cached.Set {
		f.CachedContent = cached
	}
	d.safety(f, google)
	for tool := range d.elements(d.objects(google, "tools", proto)) {
		d.geminiTool(f, tool)
	}
}

// wider returns the larger of two bounds, one of which may be absent.
func wider(a, b Opt[int64]) Opt[int64] {
	return Opt[int64]{max(a.Value, b.Value), a.Set || b.Set}
}

// inputs counts the inputs of embeddings: a text is one, so is a list of tokens, and a list of these is as many as it has.
func (d *document) inputs(v value) Opt[int64] {
	if v == absent {
		return Opt[int64]{}
	}
	switch d.nodes[v].kind {
	case text:
		return Opt[int64]{1, true}
	case list:
		if d.some(v) && d.nodes[v+1].kind == number {
			return Opt[int64]{1, true}
		}
		return d.length(v)
	}
	d.fail(WrongType, "input", v)
	return Opt[int64]{}
}

// length counts the elements of a list.
func (d *document) length(v value) Opt[int64] {
	if v == absent {
		return Opt[int64]{}
	}
	var n int64
	for range d.elements(v) {
		n++
	}
	return Opt[int64]{n, true}
}

func (d *document) openAITool(f *Facts, tool value) {
	kind := d.text(tool, "type", asWritten)
	if function := d.object(tool, "function", asWritten); function != absent || kind.Value == "function" {
		d.function(f, function, asWritten)
		return
	}
	d.add(&f.Tools, "type:"+kind.Value, tool)
}

// message reads one message of a chat.
func (d *document) message(f *Facts, message value) {
	content := d.field(message, "content", asWritten)
	if content != absent && d.nodes[content].kind == list {
		for part := range d.elements(content) {
			if part = d.is(part, object, "content"); part != absent {
				d.messagePart(f, part)
			}
		}
	} else {
		d.is(content, text, "content")
	}
	switch d.text(message, "role", asWritten).Value {
	case "system", "developer":
		f.SystemInstruction = f.SystemInstruction || content != absent
	}
}

func (d *document) messagePart(f *Facts, part value) {
	switch d.text(part, "type", asWritten).Value {
	case "text", "refusal":
	case "image_url":
		d.url(f, d.urlOf(part, "image_url"), "url", "image/*", part)
	case "input_audio":
		format := d.text(d.object(part, "input_audio", asWritten), "format", asWritten)
		if format.Set {
			format.Value = "audio/" + format.Value
		}
		d.media(f, format, part)
	case "file":
		file := d.object(part, "file", asWritten)
		d.url(f, d.field(file, "file_data", asWritten), "file_data", unknown, part)
	default: // what is to come
		d.media(f, Opt[string]{}, part)
		d.file(f, absent, "content", part)
	}
}

// urlOf returns the URL of a part, which some write as a text and not as an object that has it.
func (d *document) urlOf(part value, name string) value {
	v := d.field(part, name, asWritten)
	if v != absent && d.nodes[v].kind == text {
		return v
	}
	return d.field(d.is(v, object, name), "url", asWritten)
}
