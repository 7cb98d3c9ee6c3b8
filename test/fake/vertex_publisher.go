package fake

import (
	"encoding/json"
	"net/http"
	"time"
)

// This file holds the shapes of publishers other than Google: Anthropic's messages, and the chat completions of OpenAI, which Vertex AI
// speaks at endpoints/openapi and at rawPredict of several publishers.

// object is a JSON object.
type object map[string]any

// writeMessage answers as Anthropic's Messages API, streamed where the verb and the body both say so.
func (a *reply) writeMessage() {
	usage := a.messageUsage(a.spent())
	message := object{
		"id": "msg_vrtx_" + a.id, "type": "message", "role": "assistant", "model": a.call.model,
		"content": []object{{"type": "text", "text": a.text()}}, "stop_reason": "end_turn", "stop_sequence": nil, "usage": usage,
	}
	if a.call.verb != "streamRawPredict" || !a.members.flag("stream") {
		writeJSON(a.w, http.StatusOK, message)
		return
	}
	message["content"], message["stop_reason"] = []object{}, nil
	message["usage"] = a.messageUsage(1)
	a.streamMessage(message)
}

// messageUsage counts as Anthropic does: what comes from the cache beside the rest of the prompt.
func (a *reply) messageUsage(output int) object {
	return object{
		"input_tokens": a.prompt - a.cached(), "output_tokens": output,
		"cache_creation_input_tokens": 0, "cache_read_input_tokens": a.cached(),
	}
}

// streamMessage sends Anthropic's events. Only the chunks of text wait for the gate; what frames them does not.
func (a *reply) streamMessage(start object) {
	s := newStream(a, "text/event-stream; charset=utf-8")
	event := func(kind string, body object) string {
		body["type"] = kind
		return "event: " + kind + "\ndata: " + s.encode(body) + "\n\n"
	}
	s.send(event("message_start", object{"message": start}))
	s.send(event("content_block_start", object{"index": 0, "content_block": object{"type": "text", "text": ""}}))
	s.send(event("ping", object{}))
	for _, text := range a.script.Chunks {
		s.chunk(a.r.Context(), event("content_block_delta", object{"index": 0, "delta": object{"type": "text_delta", "text": text}}))
	}
	s.send(event("content_block_stop", object{"index": 0}))
	s.send(event("message_delta", object{
		"delta": object{"stop_reason": "end_turn", "stop_sequence": nil}, "usage": object{"output_tokens": a.spent()},
	}))
	s.send(event("message_stop", object{}))
}

// completion returns a chat completion or, for chat.completion.chunk, a piece of one.
func (a *reply) completion(kind string, choice object) object {
	choice["index"], choice["logprobs"] = 0, nil
	return object{
		"id": a.id, "object": kind, "created": time.Now().Unix(), "model": a.chatModel(), "system_fingerprint": "",
		"choices": []object{choice},
	}
}

// chatModel returns the model, which the body names at endpoints/openapi and the path at rawPredict.
func (a *reply) chatModel() string {
	if m := a.members.text("model"); m != "" {
		return m
	}
	return a.call.model
}

// chatUsage counts the thoughts beside the answer, as Vertex AI does and OpenAI does not.
func (a *reply) chatUsage() object {
	usage := object{"prompt_tokens": a.prompt, "completion_tokens": a.spent(), "total_tokens": a.prompt + a.spent() + a.thoughts()}
	if n := a.thoughts(); n > 0 {
		usage["completion_tokens_details"] = object{"reasoning_tokens": n}
	}
	return usage
}

// writeChat answers as OpenAI's chat completions, streamed where the body says so.
func (a *reply) writeChat() {
	if !a.members.flag("stream") {
		choice := object{"message": object{"role": "assistant", "content": a.text()}, "finish_reason": "stop"}
		answer := a.completion("chat.completion", choice)
		answer["usage"] = a.chatUsage()
		writeJSON(a.w, http.StatusOK, answer)
		return
	}
	s := newStream(a, "text/event-stream")
	for i, text := range a.script.Chunks {
		choice := object{"delta": object{"role": "assistant", "content": text}, "finish_reason": nil}
		last := i == len(a.script.Chunks)-1
		if last {
			choice["finish_reason"] = "stop"
		}
		piece := a.completion("chat.completion.chunk", choice)
		if last && a.wantsUsage() {
			piece["usage"] = a.chatUsage()
		}
		s.chunk(a.r.Context(), "data: "+s.encode(piece)+"\n\n")
	}
	s.send("data: [DONE]\n\n")
}

// embeddings answers as OpenAI's embeddings, with one vector whatever the input.
func (a *reply) embeddings() object {
	return object{
		"object": "list", "model": a.chatModel(),
		"data":  []object{{"object": "embedding", "index": 0, "embedding": embedding()}},
		"usage": object{"prompt_tokens": a.prompt, "total_tokens": a.prompt},
	}
}

// wantsUsage reports whether a stream is to end with usage: only stream_options.include_usage makes it.
func (a *reply) wantsUsage() bool {
	var options struct {
		IncludeUsage bool `json:"include_usage"`
	}
	return json.Unmarshal(a.members["stream_options"], &options) == nil && options.IncludeUsage
}
