// Makes calls of npm's simplelogin-client, in order, and prints what became of each.
// Standard input: {"url", "apiKey", "calls": [[api, method, argument], …]}, all in JSON.
// A method that ends in "Raw" gives what the server answered before the library reads it.

const { SimpleLoginClient } = require('simplelogin-client');

async function outcome(client, [api, method, argument]) {
  try {
    const value = await client[api][method](argument);
    if (value instanceof Blob) return { value: await value.text() };
    if (value && value.raw) return { value: await value.raw.json() };
    return { value: value === undefined ? null : value };
  } catch (error) {
    if (!error.response) return { failed: `${error.name}: ${error.message}` };
    return { status: error.response.status, ...(await error.response.json()) };
  }
}

async function main() {
  const { url, apiKey, calls } = JSON.parse(require('fs').readFileSync(0, 'utf-8'));
  const client = new SimpleLoginClient({ apiKey, url });
  const outcomes = [];
  for (const call of calls) outcomes.push(await outcome(client, call));
  process.stdout.write(JSON.stringify(outcomes));
}

main();
