// A whole application: it publishes to itself, verifies what comes, and exits with 0. It reads
// its environment only: QSTASH_DEV=true and QSTASH_DEV_PORT, or QSTASH_URL, QSTASH_TOKEN
// and the two signing keys.
import { createServer } from "node:http";
import { once } from "node:events";
import { Client, Receiver } from "@upstash/qstash";

const receiver = new Receiver();
const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = Buffer.concat(chunks).toString();
  const signature = request.headers["upstash-signature"];
  await receiver.verify({ signature, body, url });
  response.end("thanks");
  console.log(`received ${body}`);
  process.exit(0);
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const url = `http://127.0.0.1:${server.address().port}/hook`;

const { messageId } = await new Client().publishJSON({ url, body: { hello: "world" } });
console.log(`published ${messageId}`);
setTimeout(() => process.exit(1), 20_000);
