// Receive the queue's messages: check the signature, do the work, answer with a status.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const { env } = process;
// The signature's rules: https://upstash.com/docs/qstash/howto/signature
const KEYS = [env.QSTASH_CURRENT_SIGNING_KEY, env.QSTASH_NEXT_SIGNING_KEY];
if (!KEYS.every(Boolean)) throw new Error("set the two signing keys");
const BASE_URL = env.BASE_URL ?? "http://127.0.0.1:3000"; // as in the URLs published to
const done = new Set(); // your application keeps these ids in its database, with its work

/** Whether two texts are equal, in a time that does not tell how far they agree. */
function same(one, other) {
  const [a, b] = [Buffer.from(one), Buffer.from(other)];
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Whether the queue has just signed this body for this URL. */
function isSigned(token, body, url) {
  const [head, payload, signature = ""] = token.split(".");
  const made = (key) => createHmac("sha256", key).update(`${head}.${payload}`).digest("base64url");
  if (!KEYS.some((key) => same(made(key), signature))) return false;
  const { alg } = JSON.parse(Buffer.from(head, "base64url"));
  const { iss, sub, exp, nbf, body: hash } = JSON.parse(Buffer.from(payload, "base64url"));
  const now = Date.now() / 1000;
  return (
    alg === "HS256" && iss === "Upstash" && sub === url && nbf <= now + 5 && now - 5 < exp &&
    same(String(hash).replace(/=+$/, ""), createHash("sha256").update(body).digest("base64url"))
  );
}

/** Your work; if it throws, the queue sends the message again. */
async function work(message) {
  if (!("hello" in message)) throw new Error("there is no hello");
  console.log(`hello, ${message.hello}`);
}

/** The status and headers to answer a request with. */
async function receive({ url, headers }, body) {
  if (!isSigned(headers["upstash-signature"] ?? "", body, BASE_URL + url)) return [403];
  const messageId = headers["upstash-message-id"];
  if (done.has(messageId)) return [200];
  let message;
  try {
    message = JSON.parse(body);
  } catch {
    return [489, { "Upstash-NonRetryable-Error": "true" }];
  }
  try {
    await work(message);
  } catch (error) {
    console.error(`cannot work on ${messageId}:`, error);
    return [500];
  }
  done.add(messageId);
  return [200];
}

createServer((request, response) => {
  const chunks = [];
  request.on("data", (chunk) => chunks.push(chunk));
  request.on("end", async () => {
    response.writeHead(...(await receive(request, Buffer.concat(chunks)))).end();
  });
}).listen(env.PORT ?? 3000, "127.0.0.1");
