package body

// gemini reads google.cloud.aiplatform.v1.GenerateContentRequest and its kin: CountTokensRequest, ComputeTokensRequest,
// EmbedContentRequest and CachedContent have parts of the same fields.
func (d *document) gemini(f *Facts) {
	f.Model = d.text(root, "model", proto)
	f.CachedContent = d.text(root, "cachedContent", proto)
	d.labels(f)
	d.armor(f)
	d.safety(f, root)
	d.generation(f, d.object(root, "generationConfig", proto))

	system := d.object(root, "systemInstruction", proto)
	d.parts(f, system)
	for range d.elements(d.objects(system, "parts", proto)) {
		f.SystemInstruction = true
	}
	d.parts(f, d.object(root, "content", proto))
	for content := range d.elements(d.objects(root, "contents", proto)) {
		d.parts(f, content)
	}
	for tool := range d.elements(d.objects(root, "tools", proto)) {
		d.geminiTool(f, tool)
	}
	d.instances(f)
}

// some reports whether a list has elements.
func (d *document) some(v value) bool { return v != absent && int(d.nodes[v].next) > int(v)+1 }

func (d *document) labels(f *Facts) {
	for at := range d.members(d.object(root, "labels", proto)) {
		if t := d.textOf(at, "labels"); t.Set {
			d.add(&f.Labels, t.Value, at)
		}
	}
}

func (d *document) armor(f *Facts) {
	armor := d.object(root, "modelArmorConfig", proto)
	f.ModelArmor = armor != absent
	for _, name := range []string{"promptTemplateName", "responseTemplateName"} {
		if t := d.text(armor, name, proto); t.Set {
			d.add(&f.ArmorTemplates, t.Value, armor)
		}
	}
}

func (d *document) safety(f *Facts, v value) {
	for setting := range d.elements(d.objects(v, "safetySettings", proto)) {
		if len(f.Safety) == MaxNames {
			d.fail(TooMany, "safetySettings", setting)
			return
		}
		f.Safety = append(f.Safety, Safety{
			Category:  d.text(setting, "category", proto).Value,
			Threshold: d.text(setting, "threshold", proto).Value,
		})
	}
}

func (d *document) generation(f *Facts, config value) {
	f.MaxOutputTokens = d.count(config, "maxOutputTokens", proto)
	f.Candidates = d.count(config, "candidateCount", proto)
	f.Temperature = d.number(config, "temperature", proto)
	f.TopP = d.number(config, "topP", proto)
	f.TopK = d.number(config, "topK", proto)
	routing := d.object(config, "routingConfig", proto)
	f.RoutingModel = d.text(d.object(routing, "manualMode", proto), "modelName", proto)
	f.RoutingAuto = d.object(routing, "autoMode", proto) != absent
}

// parts reads the parts of a content, or of a function's response.
func (d *document) parts(f *Facts, content value) {
	for part := range d.elements(d.objects(content, "parts", proto)) {
		if data := d.object(part, "inlineData", proto); data != absent {
			d.media(f, d.text(data, "mimeType", proto), data)
		}
		if file := d.object(part, "fileData", proto); file != absent {
			d.media(f, d.text(file, "mimeType", proto), file)
			d.file(f, d.field(file, "fileUri", proto), "fileUri", file)
		}
		if response := d.object(part, "functionResponse", proto); response != absent {
			d.parts(f, response)
		}
	}
}

// geminiTool reads one google.cloud.aiplatform.v1.Tool. Every field of it is a kind of tool, those to come as well.
func (d *document) geminiTool(f *Facts, tool value) {
	for declaration := range d.elements(d.objects(tool, "functionDeclarations", proto)) {
		d.function(f, declaration, proto)
	}
	retrieval := d.object(tool, "retrieval", proto)
	kinds := len(f.Tools)
	for at := range d.members(retrieval) {
		if t := d.kindOf(at); t.Set && t.Value != "disableAttribution" {
			d.add(&f.Tools, "retrieval."+t.Value, at)
		}
	}
	plain := kinds == len(f.Tools)
	for at := range d.members(tool) {
		t := d.kindOf(at)
		switch {
		case !t.Set || t.Value == "functionDeclarations" || t.Value == "retrieval" && !plain:
		default:
			d.add(&f.Tools, t.Value, at)
		}
	}
}

// kindOf returns the name of a member in lowerCamelCase; nothing when its value is null.
func (d *document) kindOf(at value) Opt[string] {
	if d.nodes[at+1].kind == null {
		return Opt[string]{}
	}
	t := d.textOf(at, "tools")
	t.Value = string(camel(nil, []byte(t.Value)))
	return t
}

// function adds the name of a function that the model may call.
func (d *document) function(f *Facts, declaration value, s spelling) {
	d.add(&f.Tools, "fn:"+d.text(declaration, "name", s).Value, declaration)
}
