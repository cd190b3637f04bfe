// Runs every check at once, each with an account and a destination of its own, and prints a
// line of JSON for each: {"name", "ok", "ms", "error"}. test_typescript_sdk.py reads them.
// QSTASH_URL says where the queue is; TOKENS holds a token for each check.
import { Client, Receiver } from "@upstash/qstash";
import { Destination, eventually } from "./destination.mjs";
import { checks as deadLetters } from "./check_dead_letters.mjs";
import { checks as messages } from "./check_messages.mjs";
import { checks as publishing } from "./check_publishing.mjs";
import { checks as resources } from "./check_resources.mjs";

const tokens = process.env.TOKENS.split(" ");

/** What a check is given: clients, their keys, a destination, and what most checks need. */
async function tools(token) {
  const newClient = (config) => new Client({ baseUrl: process.env.QSTASH_URL, token, ...config });
  const client = newClient();
  const destination = await Destination.open();
  const options = { headers: { Authorization: `Bearer ${token}` } };
  const keys = await (await fetch(`${process.env.QSTASH_URL}/v2/keys`, options)).json();
  const receiver = new Receiver({ currentSigningKey: keys.current, nextSigningKey: keys.next });
  return {
    client,
    destination,
    newClient,
    eventually,
    /** True if the SDK's receiver accepts a request. */
    accepts: ({ headers, body }, url) =>
      receiver.verify({ signature: headers["upstash-signature"], body, url }),
    /** Wait for a state of a message; returns the newest line of its log with it. */
    until: (messageId, state) =>
      eventually(async () => {
        const { logs } = await client.logs({ filter: { messageId } });
        return logs.find((line) => line.state === state);
      }, state),
    /** Publish messages that fail at once; their dead letters, in order. */
    failed: async (count, options = {}) => {
      const letters = [];
      for (let number = 0; number < count; number++) {
        const url = destination.url("/status/404");
        const { messageId } = await client.publish({ url, retries: 0, ...options });
        const look = () => client.dlq.listMessages({ filter: { messageId } });
        await eventually(async () => (await look()).messages.length, "the dead letter");
        letters.push(...(await look()).messages);
      }
      return letters;
    },
  };
}

async function run([name, body], token) {
  const began = Date.now();
  const given = await tools(token);
  try {
    await body(given);
    return { name, ok: true, ms: Date.now() - began };
  } catch (error) {
    return { name, ok: false, ms: Date.now() - began, error: error.stack ?? String(error) };
  } finally {
    given.destination.close();
  }
}

const all = [publishing, messages, deadLetters, resources].flatMap((part) => Object.entries(part));
await Promise.all(
  all.map(async (check, number) => console.log(JSON.stringify(await run(check, tokens[number])))),
);
process.exit(0);
