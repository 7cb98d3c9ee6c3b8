package body

// predict reads a request of predict or predictLongRunning to one of Google's own models, or of fetchPredictOperation. What is in the
// instances is the model's own; of it only files and types of media are read, wherever they stand.
func (d *document) predict(f *Facts) {
	f.Operation = d.text(root, "operationName", proto)
	d.labels(f)
	d.instances(f)
	parameters := d.object(root, "parameters", proto)
	f.MaxOutputTokens = d.count(parameters, "maxOutputTokens", asWritten)
	f.Candidates = wider(d.count(parameters, "candidateCount", asWritten), d.count(parameters, "sampleCount", asWritten))
	f.Temperature = d.number(parameters, "temperature", asWritten)
	f.TopP = d.number(parameters, "topP", asWritten)
	f.TopK = d.number(parameters, "topK", asWritten)
	d.filesAnywhere(f)
}

func (d *document) instances(f *Facts) {
	f.Instances = d.length(d.list(root, "instances", proto))
}

// job reads a BatchPredictionJob, a TuningJob and what else has a model among fields that are not known here: the model, and where its
// data come from and go to.
func (d *document) job(f *Facts) {
	f.Model = d.text(root, "model", proto)
	if base := d.text(root, "baseModel", proto); base.Set {
		if f.Model.Set {
			d.fail(Duplicate, "baseModel", root) // no job has both
		}
		f.Model = base
	}
	d.labels(f)
	d.filesAnywhere(f)
}

// filesAnywhere finds files of Cloud Storage and tables of BigQuery by what they look like, and types of media by the name of their
// field, at any depth.
func (d *document) filesAnywhere(f *Facts) {
	for at := range d.nodes {
		v := value(at)
		if d.nodes[v].kind != text {
			continue
		}
		if d.hasPrefix(v, "gs://") || d.hasPrefix(v, "bq://") {
			d.file(f, v, "", v)
		}
	}
	d.mediaIn(f, root)
}

// mediaIn finds types of media in an object or a list and all below it.
func (d *document) mediaIn(f *Facts, v value) {
	switch d.nodes[v].kind {
	case list:
		for e := range d.elements(v) {
			d.mediaIn(f, e)
		}
	case object:
		if t := d.text(v, "mimeType", proto); t.Set {
			d.media(f, t, v)
		}
		for at := range d.members(v) {
			d.mediaIn(f, at+1)
		}
	}
}
