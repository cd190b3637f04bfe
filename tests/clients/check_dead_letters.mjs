// The TypeScript SDK finds, deletes and retries dead letters.
import assert from "node:assert/strict";

const idOf = ({ dlqId }) => dlqId;

export const checks = {
  async "a failed message becomes a dead letter"({ client, destination, failed }) {
    const flowControl = { key: "k", rate: 9, period: "1d" };
    const [letter] = await failed(1, { body: "hi", label: ["blue", "green"], flowControl });
    assert.equal(letter.responseStatus, 404);
    assert.equal(letter.responseBody, "404 Not Found");
    assert.deepEqual(letter.responseHeader["Content-Type"], ["text/plain"]);
    assert.equal(letter.url, destination.url("/status/404"));
    assert.deepEqual([letter.body, letter.maxRetries], ["hi", 0]);
    assert.deepEqual([letter.flowControlKey, letter.ratePerSecond, letter.period], ["k", 9, 86_400]);
    assert.deepEqual(letter.labels, ["blue", "green"]);
  },

  async "dead letters are filtered"({ client, destination, failed }) {
    const [blue] = await failed(1, { label: "blue", flowControl: { key: "k", rate: 9 } });
    const [green] = await failed(1, { label: "green", url: destination.url("/status/500?a=1,2") });
    const found = async (filter) =>
      (await client.dlq.listMessages({ filter })).messages.map(idOf).sort();
    const both = [blue, green].map(idOf).sort();
    assert.deepEqual(await found({ messageId: blue.messageId }), [blue.dlqId]);
    assert.deepEqual(await found({ label: ["blue", "green"] }), both);
    assert.deepEqual(await found({ url: [blue.url, green.url] }), both);
    assert.deepEqual(await found({ url: green.url }), [green.dlqId]);
    assert.deepEqual(await found({ flowControlKey: "k" }), [blue.dlqId]);
    assert.deepEqual(await found({ responseStatus: [404, 503] }), [blue.dlqId]);
    assert.deepEqual(await found({ fromDate: 5, callerIp: "127.0.0.1" }), both);
    for (const none of [{ label: "red" }, { urlGroup: "g" }, { queueName: "q" }, { toDate: 5 },
      { scheduleId: "s" }, { label: "blue", responseStatus: 500 }]) {
      assert.deepEqual(await found(none), [], JSON.stringify(none));
    }
    assert.equal((await client.dlq.listMessages({ filter: { label: "red" } })).cursor, undefined);
    const { messages } = await client.dlq.listMessages({ dlqIds: [blue.dlqId] });
    assert.deepEqual(messages.map(idOf), [blue.dlqId]);
  },

  async "a dead letter of a group is found by it"({ client, destination, eventually }) {
    const endpoints = [{ url: destination.url("/status/404"), name: "first" }];
    await client.urlGroups.addEndpoints({ name: "all", endpoints });
    await client.publish({ urlGroup: "all", retries: 0 });
    const list = () => client.dlq.listMessages({ filter: { urlGroup: "all" } });
    await eventually(async () => (await list()).messages.length, "the dead letter");
    const [letter] = (await list()).messages;
    assert.deepEqual([letter.urlGroup, letter.endpointName], ["all", "first"]);
  },

  async "dead letters come in pages"({ client, failed }) {
    const ids = (await failed(3)).map(idOf).sort();
    const first = await client.dlq.listMessages({ count: 2 });
    const rest = await client.dlq.listMessages({ count: 2, cursor: first.cursor });
    assert.deepEqual([...first.messages, ...rest.messages].map(idOf).sort(), ids);
    assert.equal(rest.cursor, undefined);
  },

  async "dead letters are deleted by id"({ client, failed }) {
    const ids = (await failed(4)).map(idOf);
    await client.dlq.delete(ids[0]);
    await assert.rejects(client.dlq.delete(ids[0]), (error) => error.status === 404);
    assert.equal((await client.dlq.delete([ids[1], ids[0]])).deleted, 1);
    assert.equal((await client.dlq.delete({ dlqIds: ids[2] })).deleted, 1);
    assert.equal((await client.dlq.deleteMany({ dlqIds: [ids[3]] })).deleted, 1);
    assert.deepEqual(await client.dlq.delete([]), { deleted: 0 });
    assert.deepEqual((await client.dlq.listMessages()).messages, []);
  },

  async "dead letters are deleted by filter, count and all"({ client, failed }) {
    await failed(2, { label: "blue" });
    await failed(3);
    assert.equal((await client.dlq.delete({ filter: { label: "red" } })).deleted, 0);
    assert.equal((await client.dlq.delete({ filter: { label: "blue" } })).deleted, 2);
    const first = await client.dlq.delete({ all: true, count: 1 });
    assert.equal(first.deleted, 1);
    assert.ok(first.cursor);
    const rest = await client.dlq.delete({ all: true, cursor: first.cursor });
    assert.deepEqual([rest.deleted, rest.cursor], [2, undefined]);
  },

  async "a retried dead letter is a new message like the old"(given) {
    const { client, destination, failed, accepts } = given;
    const path = "/flaky/1";
    const [letter] = await failed(1, {
      url: destination.url(path), body: "hi", method: "PUT", headers: { "X-A": "1" }, label: "blue",
    });
    const { responses, cursor } = await client.dlq.retry(letter.dlqId);
    assert.equal(responses.length, 1);
    assert.equal(cursor, undefined);
    assert.notEqual(responses[0].messageId, letter.messageId);
    const [, again] = await destination.received(2, path);
    assert.deepEqual([again.method, again.body, again.headers["x-a"]], ["PUT", "hi", "1"]);
    assert.equal(again.headers["upstash-message-id"], responses[0].messageId);
    assert.equal(again.headers["upstash-retried"], "0");
    assert.ok(await accepts(again, destination.url(path)));
    assert.equal((await client.messages.get(responses[0].messageId)).label, "blue");
    assert.deepEqual((await client.dlq.listMessages()).messages, []);
  },

  async "dead letters are retried by ids, filter, count and all"({ client, failed, destination }) {
    const retry = async (request) => (await client.dlq.retry(request)).responses.length;
    const url = destination.url("/status/404");
    const [one, two, three] = (await failed(3, { url })).map(idOf);
    await failed(2, { label: "blue" });
    await failed(3);
    assert.deepEqual(await client.dlq.retry([]), { responses: [] });
    assert.equal(await retry([one, "1-0"]), 1);
    assert.equal(await retry({ dlqIds: [two, three] }), 2);
    assert.equal(await retry({ filter: { label: "red" } }), 0);
    assert.equal(await retry({ filter: { label: "blue" } }), 2);
    assert.equal(await retry({ filter: { url, toDate: 5 } }), 0);
    const first = await client.dlq.retry({ all: true, count: 1 });
    assert.equal(first.responses.length, 1);
    assert.ok(first.cursor);
  },

  async "every filter is known to retry, and no other"({ client, failed }) {
    await failed(1);
    const filter = {
      messageId: "m", url: "https://a.test/", urlGroup: "g", queueName: "q", scheduleId: "s",
      responseStatus: 404, callerIp: "192.0.2.1", label: "l", flowControlKey: "k", fromDate: 5,
      toDate: new Date(),
    };
    assert.deepEqual((await client.dlq.retry({ filter })).responses, []);
    const refused = (error) => error.status === 400 && error.message.includes("labeel");
    await assert.rejects(client.dlq.retry({ filter: { labeel: "l" } }), refused);
    await assert.rejects(client.dlq.delete({ filter: { labeel: "l" } }), refused);
    await assert.rejects(client.dlq.listMessages({ filter: { labeel: "l" } }), refused);
    assert.equal((await client.dlq.listMessages()).messages.length, 1);
  },
};
