// Where messages are delivered: a server that keeps every request. The path says what to answer:
// /status/404 that status, /flaky/2 a 503 twice and then 200, /held a 200 once the check calls
// release(), anything else a 200.
import { createServer, STATUS_CODES } from "node:http";
import { once } from "node:events";

/** The first true answer of `look`, which may be asynchronous; throws after 20 seconds. */
export async function eventually(look, what = "it") {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const answer = await look();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`${what} did not happen within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export class Destination {
  requests = [];
  waiting = [];

  static async open() {
    const destination = new Destination();
    destination.server = createServer((request, response) => destination.keep(request, response));
    destination.server.listen(0, "127.0.0.1");
    await once(destination.server, "listening");
    return destination;
  }

  async keep(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method, url: path, headers } = request;
    this.requests.push({ method, path, headers, body: Buffer.concat(chunks).toString() });
    const [, verb, number] = /\/(status|flaky|held)\/?(\d*)/.exec(path) ?? [];
    let status = verb === "status" ? Number(number) : 200;
    if (verb === "flaky" && this.at(path).length <= Number(number)) status = 503;
    if (verb === "held") await new Promise((resolve) => this.waiting.push(resolve));
    response.writeHead(status, { "Content-Type": "text/plain" });
    response.end(`${status} ${STATUS_CODES[status]}`);
  }

  url(path = "/") {
    return `http://127.0.0.1:${this.server.address().port}${path}`;
  }

  /** The requests to one path, query included. */
  at(path) {
    return this.requests.filter((request) => request.path === path);
  }

  /** At least `count` requests to a path, waited for. */
  async received(count, path = "/") {
    await eventually(() => this.at(path).length >= count, `request ${count} to ${path}`);
    return this.at(path);
  }

  /** The first request to a path, waited for. */
  async first(path = "/") {
    return (await this.received(1, path))[0];
  }

  release() {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  close() {
    this.release();
    this.server.closeAllConnections();
    this.server.close();
  }
}
