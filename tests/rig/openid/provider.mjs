// A certified OpenID Connect provider on a loopback port: node provider.mjs DIRECTORY CONFIGURATION.
// DIRECTORY has node_modules; CONFIGURATION is JSON. PUT /people replaces who can sign in, and their claims.
import http from 'node:http';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [, , directory, configuration] = process.argv;
const { Provider } = await import(pathToFileURL(join(directory, 'node_modules/oidc-provider/lib/index.js')));
const { port, clients } = JSON.parse(configuration);
const issuer = `http://127.0.0.1:${port}`;
let people = {};

const provider = new Provider(issuer, {
  clients,
  cookies: { keys: ['tests only'] },
  scopes: ['openid', 'email', 'profile', 'groups'],
  claims: {
    acr: null, auth_time: null, iss: null, sid: null,
    openid: ['sub', 'amr'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups', 'manages'],
  },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
  // Everybody has agreed to everything.
  loadExistingGrant: async (ctx) => {
    const { client, session } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope('openid email profile groups');
    await grant.save();
    return grant;
  },
});

const body = async (request) => {
  let text = '';
  for await (const piece of request) text += piece;
  return text;
};

const form = '<!doctype html><title>Provider</title><h1>Provider</h1><form method="post">'
  + '<label>Who are you? <input name="login" autofocus></label> <button>Sign in</button></form>';

const interact = async (request, response) => {
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html');
    response.end(form);
    return;
  }
  const login = new URLSearchParams(await body(request)).get('login');
  const result = people[login]
    ? { login: { accountId: login, amr: people[login].amr, remember: true } }
    : { error: 'access_denied', error_description: '<script>alert(1)</script>' };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
};

const callback = provider.callback();
http.createServer(async (request, response) => {
  if (request.url === '/people' && request.method === 'PUT') {
    people = JSON.parse(await body(request));
    response.end();
  } else if (request.url.startsWith('/interaction/')) {
    await interact(request, response);
  } else {
    callback(request, response);
  }
}).listen(port, '127.0.0.1', () => console.log(`${issuer} is ready`));
