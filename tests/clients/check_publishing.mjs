// The TypeScript SDK publishes messages; the checks look at what is delivered.
import assert from "node:assert/strict";
import { custom, resend, upstash } from "@upstash/qstash";

const JSON_TYPE = "application/json";

export const checks = {
  async "a message arrives as it was published"({ client, destination, accepts }) {
    const url = destination.url("/hook");
    const published = await client.publish({
      url,
      body: "raw \u00e9",
      method: "PUT",
      headers: { "Content-Type": "text/x", "X-Color": "blue", "Upstash-Forward-X-Form": "round" },
    });
    const request = await destination.first("/hook");
    assert.equal(request.method, "PUT");
    assert.equal(request.body, "raw \u00e9");
    assert.equal(request.headers["content-type"], "text/x");
    assert.equal(request.headers["x-color"], "blue");
    assert.equal(request.headers["x-form"], "round");
    assert.equal(request.headers["upstash-message-id"], published.messageId);
    assert.equal(request.headers["user-agent"], "Upstash-QStash");
    assert.equal(request.headers["upstash-retried"], "0");
    assert.ok(!Object.keys(request.headers).some((name) => name.includes("telemetry")));
    assert.ok(await accepts(request, url));
  },

  async "its receiver refuses another url, body and key"({ client, destination, accepts }) {
    const url = destination.url("/hook");
    await client.publishJSON({ url, body: { n: 1 } });
    const request = await destination.first("/hook");
    await assert.rejects(accepts(request, destination.url("/other")), /invalid subject/);
    await assert.rejects(accepts({ ...request, body: "{}" }, url), /body hash/);
    const [head, , tail] = request.headers["upstash-signature"].split(".");
    const forged = { ...request.headers, "upstash-signature": `${head}.e30.${tail}` };
    await assert.rejects(accepts({ ...request, headers: forged }, url), /signature/);
  },

  async "json of every method is signed"({ client, destination, accepts }) {
    for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE"]) {
      const url = destination.url(`/${method}`);
      await client.publishJSON({ url, body: { n: 1 }, method });
      const request = await destination.first(`/${method}`);
      assert.equal(request.method, method);
      assert.equal(request.body, '{"n":1}');
      assert.equal(request.headers["content-type"], JSON_TYPE);
      assert.ok(await accepts(request, url));
    }
  },

  async "an empty body arrives empty and signed"({ client, destination, accepts }) {
    await client.publish({ url: destination.url() });
    const request = await destination.first();
    assert.equal(request.body, "");
    assert.ok(await accepts(request, destination.url()));
  },

  async "a url keeps its encoding and its query"({ client, destination, accepts }) {
    const path = "/a%2Fb//c/%C3%A9?x=1&y=%2F%20&x=2";
    await client.publishJSON({ url: destination.url(path), body: 1 });
    assert.ok(await accepts(await destination.first(path), destination.url(path)));
  },

  async "headers of the client go with every message"({ newClient, destination }) {
    const client = newClient({ headers: { "X-All": "yes" } });
    await client.publishJSON({ url: destination.url(), body: 1, headers: { "X-One": "1" } });
    const { headers } = await destination.first();
    assert.equal(headers["x-all"], "yes");
    assert.equal(headers["x-one"], "1");
  },

  async "a message can be read with its options"({ client, destination }) {
    const { messageId } = await client.publishJSON({
      url: destination.url(),
      body: { n: 1 },
      headers: { "Test-Header": "one", "upstash-callback-forward-x-a": "1" },
      delay: 3600,
      retries: 5,
      retryDelay: "1000 * (1 + retried)",
      callback: "https://callback.test/",
      failureCallback: "https://failure.test/",
      timeout: 30,
      label: ["blue", "green"],
      flowControl: { key: "k", parallelism: 3, rate: 4, period: "1d" },
    });
    const message = await client.messages.get(messageId);
    assert.equal(message.messageId, messageId);
    assert.equal(message.url, destination.url());
    assert.equal(message.body, '{"n":1}');
    assert.deepEqual(message.header, { "Content-Type": [JSON_TYPE], "Test-Header": ["one"] });
    assert.deepEqual(message.callbackHeader, { "X-A": ["1"] });
    assert.equal(message.notBefore - message.createdAt, 3_600_000);
    assert.equal(message.maxRetries, 5);
    assert.equal(message.retryDelayExpression, "1000 * (1 + retried)");
    assert.equal(message.callback, "https://callback.test/");
    assert.equal(message.failureCallback, "https://failure.test/");
    assert.equal(message.label, "blue");
    assert.deepEqual(message.labels, ["blue", "green"]);
    assert.equal(message.flowControlKey, "k");
    assert.equal(message.parallelism, 3);
    assert.equal(message.ratePerSecond, 4);
    assert.equal(message.period, 86_400);
  },

  async "what a message was not given is undefined"({ client, destination }) {
    const { messageId } = await client.publish({ url: destination.url(), delay: "1h" });
    const message = await client.messages.get(messageId);
    for (const name of ["body", "bodyBase64", "callback", "failureCallback", "flowControlKey",
      "label", "labels", "parallelism", "period", "queueName", "rate", "scheduleId", "urlGroup"]) {
      assert.equal(message[name], undefined, name);
    }
  },

  async "a failed attempt is repeated"({ client, destination, until }) {
    const url = destination.url("/flaky/2");
    const { messageId } = await client.publishJSON({ url, body: 1, retries: 2, retryDelay: "20" });
    await until(messageId, "DELIVERED");
    const attempts = destination.at("/flaky/2");
    assert.deepEqual(attempts.map(({ headers }) => headers["upstash-retried"]), ["0", "1", "2"]);
  },

  async "callbacks report each attempt"({ client, destination, accepts }) {
    const callback = destination.url("/callback");
    const url = destination.url("/work");
    const headers = { "X-A": "1", "Upstash-Callback-Forward-X-B": "2" };
    const published = await client.publishJSON({ url, body: "task", callback, headers });
    const request = await destination.first("/callback");
    assert.ok(await accepts(request, callback));
    assert.equal(request.headers["content-type"], JSON_TYPE);
    assert.equal(request.headers["x-b"], "2");
    const report = JSON.parse(request.body);
    assert.equal(report.status, 200);
    assert.equal(report.sourceMessageId, published.messageId);
    assert.equal(atob(report.body), "200 OK");
    assert.equal(atob(report.sourceBody), '"task"');
    assert.deepEqual(report.sourceHeader["X-A"], ["1"]);
  },

  async "a failure callback names the dead letter"({ client, destination, accepts }) {
    const failureCallback = destination.url("/failure");
    const url = destination.url("/status/500");
    const published = await client.publishJSON({ url, retries: 0, failureCallback });
    const request = await destination.first("/failure");
    assert.ok(await accepts(request, failureCallback));
    const report = JSON.parse(request.body);
    const { messages } = await client.dlq.listMessages({ dlqIds: [report.dlqId] });
    assert.equal(messages[0].messageId, published.messageId);
    assert.equal(report.status, 500);
  },

  async "a duplicate is answered with the first message"({ client, destination }) {
    for (const same of [{ deduplicationId: "one" }, { contentBasedDeduplication: true }]) {
      const first = await client.publishJSON({ url: destination.url(), body: 1, ...same });
      const again = await client.publishJSON({ url: destination.url(), body: 1, ...same });
      assert.equal(first.deduplicated, undefined);
      assert.deepEqual([again.messageId, again.deduplicated], [first.messageId, true]);
    }
    await destination.received(2);
    assert.equal(destination.requests.length, 2);
  },

  async "redacted fields are delivered but not shown"({ client, destination, until }) {
    const { messageId } = await client.publishJSON({
      url: destination.url(),
      body: "secret",
      headers: { "X-Key": "hidden" },
      redact: { body: true, header: true },
    });
    const request = await destination.first();
    assert.equal(request.body, '"secret"');
    assert.equal(request.headers["x-key"], "hidden");
    assert.match((await client.messages.get(messageId)).body, /^REDACTED:[0-9a-f]{64}$/);
    await until(messageId, "DELIVERED");
    assert.doesNotMatch(JSON.stringify(await client.logs()), /hidden|InNlY3JldCI=/);
  },

  async "a batch goes to urls, groups and queues"({ client, destination, accepts }) {
    const endpoints = [{ url: destination.url("/a") }, { url: destination.url("/b") }];
    await client.urlGroups.addEndpoints({ name: "all", endpoints });
    const [plain, group, queued] = await client.batchJSON([
      { url: destination.url("/plain"), body: { n: 1 }, headers: { "X-A": "1" }, method: "PUT" },
      { urlGroup: "all", body: 2 },
      { url: destination.url("/queue"), queueName: "orders", body: 3 },
    ]);
    const request = await destination.first("/plain");
    assert.equal(request.headers["upstash-message-id"], plain.messageId);
    assert.deepEqual([request.method, request.body], ["PUT", '{"n":1}']);
    assert.equal(request.headers["x-a"], "1");
    assert.equal(request.headers["content-type"], JSON_TYPE);
    assert.deepEqual(group.map(({ url }) => url), endpoints.map(({ url }) => url));
    assert.equal((await destination.first("/b")).body, "2");
    assert.ok(await accepts(await destination.first("/queue"), destination.url("/queue")));
    assert.equal((await client.messages.get(queued.messageId)).queueName, "orders");
  },

  async "a batch of texts keeps their headers"({ client, destination }) {
    await client.batch([
      { url: destination.url("/one"), body: "1", headers: { "Content-Type": "text/x" } },
      { url: destination.url("/two"), body: "2", delay: "1s", headers: { "X-A": "1" } },
    ]);
    assert.equal((await destination.first("/one")).headers["content-type"], "text/x");
    assert.equal((await destination.first("/two")).headers["x-a"], "1");
  },

  async "a provider is delivered to at its url"({ client, newClient, destination, accepts }) {
    const provider = custom({ baseUrl: destination.url("/llm"), token: "its-token" });
    const callback = destination.url("/answered");
    const api = { name: "llm", provider };
    await client.publishJSON({ api, body: { n: 1 }, callback });
    const [batched] = await client.batchJSON([{ api, body: { n: 2 }, callback }]);
    assert.match(batched.messageId, /^msg_/);
    const path = "/llm/v1/chat/completions";
    const requests = await destination.received(2, path);
    assert.deepEqual(requests.map(({ body }) => body).sort(), ['{"n":1}', '{"n":2}']);
    assert.equal(requests[0].headers.authorization, "Bearer its-token");
    assert.ok(await accepts(requests[0], destination.url(path)));
  },

  async "an e-mail provider is accepted like any url"({ client }) {
    const api = { name: "email", provider: resend({ token: "its-token" }) };
    const { messageId } = await client.publishJSON({ api, body: { to: "a" }, delay: "1h" });
    const { url, header } = await client.messages.get(messageId);
    assert.equal(url, "https://api.resend.com/emails");
    assert.deepEqual(header.Authorization, ["Bearer its-token"]);
  },

  async "the models of QStash itself are refused"({ client }) {
    const api = { name: "llm", provider: upstash() };
    const request = { api, body: { n: 1 }, callback: "https://callback.test/" };
    const refused = (error) => error.status === 400 && /invalid destination url/.test(error.message);
    await assert.rejects(client.publishJSON(request), refused);
    await assert.rejects(client.queue({ queueName: "q" }).enqueueJSON(request), refused);
    const [answer] = await client.batchJSON([request]);
    assert.match(answer.error, /invalid destination url/);
  },

  async "bad options and tokens are refused"({ client, newClient, destination }) {
    const url = destination.url();
    const status = (code) => (error) => error.status === code && "error" in JSON.parse(error.message);
    await assert.rejects(client.publish({ url, deduplicationId: "a:b" }), status(400));
    await assert.rejects(client.publish({ url, retryDelay: "system(1)" }), status(400));
    await assert.rejects(client.publish({ urlGroup: "unknown" }), status(400));
    await assert.rejects(client.messages.get("msg_unknown"), status(404));
    await assert.rejects(newClient({ token: "wrong" }).publish({ url }), status(401));
  },
};
