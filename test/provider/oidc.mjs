// An OpenID provider: oidc-provider, with the clients, keys and switches that the tests need.
//
//   node oidc.mjs '{"issuer": …, "cert": …, "ca": …, "audience": …, "clients": […]}'
//
// It listens on two free ports of loopback, one with TLS for everybody and one for the tests alone, writes them to standard output as one
// line of JSON, and ends with its standard input. What the tests may ask of it: POST /rotate/{overlap,announce,hard}.

import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';

const options = JSON.parse(process.argv[2]);
const algorithms = ['RS256', 'PS256', 'ES256', 'EdDSA'];
const cookieKey = crypto.randomBytes(32).toString('base64url');

async function generation() {
  return Promise.all(algorithms.map(async (alg) => {
    const { privateKey } = await generateKeyPair(alg, { extractable: true });
    return { ...(await exportJWK(privateKey)), alg, use: 'sig', kid: `${alg}-${crypto.randomBytes(6).toString('hex')}` };
  }));
}

// A resource says in which form its access tokens are: https://vertex.example.com/FORMAT, where FORMAT is an algorithm or "opaque", and
// for how many seconds: https://vertex.example.com/FORMAT/SECONDS.
function resourceServer(_ctx, resource) {
  const [format, seconds] = new URL(resource).pathname.slice(1).split('/');
  const common = { scope: 'predict', audience: options.audience, accessTokenTTL: Number(seconds) || options.lifetime };
  if (format === 'opaque') {
    return { ...common, accessTokenFormat: 'opaque' };
  }
  if (!algorithms.includes(format)) {
    throw new Error(`no such format: ${format}`);
  }
  return { ...common, accessTokenFormat: 'jwt', jwt: { sign: { alg: format } } };
}

const groups = new Map(options.clients.map((client) => [client.id, client.groups ?? []]));

function metadata(client) {
  return {
    client_id: client.id,
    client_secret: client.secret,
    redirect_uris: client.redirect ? [client.redirect] : [],
    response_types: client.redirect ? ['code'] : [],
    grant_types: client.redirect ? ['authorization_code'] : ['client_credentials'],
    id_token_signed_response_alg: client.algorithm || 'RS256',
    tls_client_certificate_bound_access_tokens: Boolean(client.bound),
  };
}

function provider(keys) {
  const made = new Provider(options.issuer, {
    clients: options.clients.map(metadata),
    jwks: { keys },
    cookies: { keys: [cookieKey] },
    scopes: ['openid', 'predict', 'email', 'groups'],
    claims: { openid: ['sub'], email: ['email', 'email_verified'], groups: ['groups'] },
    conformIdTokenClaims: false,
    enabledJWA: { idTokenSigningAlgValues: algorithms },
    ttl: { IdToken: options.lifetime },
    extraTokenClaims: (_ctx, token) => ({ groups: groups.get(token.clientId) ?? [] }),
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, groups: ['search-eng'] }),
    }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        getCertificate: (ctx) => ctx.req.socket.getPeerX509Certificate(),
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined,
        useGrantedResource: () => true,
        getResourceServerInfo: resourceServer,
      },
    },
  });
  for (const event of ['server_error', 'grant.error', 'authorization.error', 'introspection.error', 'revocation.error']) {
    made.on(event, (_ctx, err) => console.error(event, err.error ?? err, err.error_description ?? '', err.error_detail ?? ''));
  }
  return made.callback();
}

let keys = await generation();
let announced;
let answer = provider(keys);

const rotations = {
  // The new keys sign, the ones before stay published.
  async overlap() {
    keys = [...await generation(), ...keys].slice(0, 4 * algorithms.length);
  },
  // New keys are published and do not sign yet: the next overlap takes them.
  async announce() {
    announced = await generation();
    keys = [...keys, ...announced];
  },
  // The new keys are all there is: what was signed before is worth nothing.
  async hard() {
    keys = await generation();
  },
};

async function rotate(mode) {
  if (mode === 'overlap' && announced) {
    const old = keys.filter((key) => !announced.includes(key));
    keys = [...announced, ...old];
  } else {
    await rotations[mode]();
  }
  if (mode !== 'announce') {
    announced = undefined;
  }
  answer = provider(keys);
}

const pem = fs.readFileSync(options.cert);
const everybody = https.createServer({
  cert: pem,
  key: pem,
  ca: options.ca ? [fs.readFileSync(options.ca)] : undefined,
  requestCert: Boolean(options.ca),
  rejectUnauthorized: false,
}, (req, res) => answer(req, res));

const control = http.createServer(async (req, res) => {
  const mode = /^\/rotate\/(overlap|announce|hard)$/.exec(req.url)?.[1];
  if (req.method !== 'POST' || !mode) {
    res.writeHead(404).end();
    return;
  }
  try {
    await rotate(mode);
    res.writeHead(204).end();
  } catch (err) {
    res.writeHead(500).end(String(err));
  }
});

function listen(server) {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server.address().port));
  });
}

process.stdin.on('end', () => process.exit(0)).resume();
console.log(JSON.stringify({ port: await listen(everybody), control: await listen(control) }));
