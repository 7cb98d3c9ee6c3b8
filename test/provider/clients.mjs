// Real clients of Vertex AI, pointed at a gateway with a caller's own token, as the README says.
//
//   GATEWAY=https://… PROJECT=… LOCATION=… NODE_EXTRA_CA_CERTS=… node clients.mjs
//
// It reads one order after the other from standard input, a line of JSON each: {"client", "action", "model", "token", "retries"}. For each
// it writes lines of JSON to standard output: {"chunk": TEXT} for each piece of a stream as soon as it is there, and at the end either
// {"done": WHAT CAME OF IT} or {"failed": {"class", "status", "reason"}}, which is what a program sees of an error.

import * as readline from 'node:readline';
import { AnthropicVertex } from '@anthropic-ai/vertex-sdk';
import { GoogleGenAI } from '@google/genai';
import { OAuth2Client } from 'google-auth-library';
import OpenAI from 'openai';

const { GATEWAY: gateway, PROJECT: project, LOCATION: location } = process.env;

function say(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

// holder is what Google's libraries take for a signed-in user: it holds the caller's own token.
function holder(token) {
  const client = new OAuth2Client();
  client.setCredentials({ access_token: token, expiry_date: Date.now() + 3_600_000 });
  return client;
}

function reasonIn(details) {
  return details?.find((detail) => detail['@type']?.endsWith('google.rpc.ErrorInfo'))?.reason ?? '';
}

const genai = {
  open({ token, retries }) {
    return new GoogleGenAI({
      vertexai: true,
      project,
      location,
      googleAuthOptions: { authClient: holder(token) },
      httpOptions: { baseUrl: gateway, ...(retries ? { retryOptions: { attempts: retries + 1, initialDelay: 0.01 } } : {}) },
    });
  },
  async unary(client, model) {
    return (await client.models.generateContent({ model, contents: 'Say hello.' })).text;
  },
  async* stream(client, model) {
    for await (const part of await client.models.generateContentStream({ model, contents: 'Say hello.' })) {
      yield part.text;
    }
  },
  async count(client, model) {
    return (await client.models.countTokens({ model, contents: 'Say hello.' })).totalTokens;
  },
  async embed(client, model) {
    return (await client.models.embedContent({ model, contents: 'Say hello.' })).embeddings[0].values.length;
  },
  // The message is the whole body.
  reason: (err) => reasonIn(JSON.parse(err.message).error?.details),
};

const question = [{ role: 'user', content: 'Say hello.' }];

const anthropic = {
  open({ token, retries }) {
    return new AnthropicVertex({
      projectId: project,
      region: location,
      baseURL: `${gateway}/v1`,
      authClient: holder(token),
      ...(retries === undefined ? {} : { maxRetries: retries }),
    });
  },
  async unary(client, model) {
    return (await client.messages.create({ model, max_tokens: 64, messages: question })).content[0].text;
  },
  async* stream(client, model) {
    for await (const event of client.messages.stream({ model, max_tokens: 64, messages: question })) {
      if (event.type === 'content_block_delta') {
        yield event.delta.text;
      }
    }
  },
  async count(client, model) {
    return (await client.messages.countTokens({ model, messages: question })).input_tokens;
  },
  reason: (err) => reasonIn(err.error?.error?.details),
};

const openai = {
  open({ token, retries }) {
    return new OpenAI({
      baseURL: `${gateway}/v1/projects/${project}/locations/${location}/endpoints/openapi`,
      apiKey: token,
      ...(retries === undefined ? {} : { maxRetries: retries }),
    });
  },
  async unary(client, model) {
    return (await client.chat.completions.create({ model, messages: question })).choices[0].message.content;
  },
  async* stream(client, model) {
    for await (const part of await client.chat.completions.create({ model, messages: question, stream: true })) {
      const text = part.choices[0]?.delta?.content;
      if (text) {
        yield text;
      }
    }
  },
  async embed(client, model) {
    return (await client.embeddings.create({ model, input: 'Say hello.', encoding_format: 'float' })).data[0].embedding.length;
  },
  reason: (err) => reasonIn(err.error?.details),
};

const clients = { genai, anthropic, openai };

async function carryOut(order) {
  const kind = clients[order.client];
  try {
    const client = kind.open(order);
    if (order.action === 'stream') {
      let text = '';
      for await (const chunk of kind.stream(client, order.model)) {
        say({ chunk });
        text += chunk;
      }
      say({ done: text });
      return;
    }
    say({ done: String(await kind[order.action](client, order.model)) });
  } catch (err) {
    if (err.status === undefined) {
      console.error(err);
      say({ failed: { class: err.constructor.name, status: 0, reason: '' } });
      return;
    }
    say({ failed: { class: err.constructor.name, status: err.status, reason: kind.reason(err) } });
  }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  await carryOut(JSON.parse(line));
}
