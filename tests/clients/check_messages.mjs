// The TypeScript SDK finds and cancels messages, and reads their logs.
import assert from "node:assert/strict";

/** Publishes messages that are not due for an hour; their ids. */
async function waiting({ client, destination }, count, options = {}) {
  const ids = [];
  for (let number = 0; number < count; number++) {
    const request = { url: destination.url(), delay: "1h", ...options };
    ids.push((await client.publish(request)).messageId);
  }
  return ids;
}

const gone = (error) => error.status === 404;

export const checks = {
  async "a cancelled message is gone"(given) {
    const { messages } = given.client;
    const [first, second] = await waiting(given, 2);
    assert.deepEqual(await messages.cancel(first), { cancelled: 1 });
    await assert.rejects(messages.get(first), gone);
    await assert.rejects(messages.cancel(first), gone);
    await messages.delete(second);
    await assert.rejects(messages.get(second), gone);
  },

  async "messages are cancelled by their ids, then the rest"(given) {
    const { messages } = given.client;
    const ids = await waiting(given, 7);
    assert.deepEqual(await messages.cancel(ids.slice(0, 2)), { cancelled: 2 });
    assert.deepEqual(await messages.cancel({ messageIds: ids.slice(2, 4) }), { cancelled: 2 });
    assert.equal(await messages.deleteMany([ids[4], "msg_unknown"]), 1);
    assert.deepEqual(await messages.cancel([]), { cancelled: 0 });
    assert.equal(await messages.deleteAll(), 2);
    assert.deepEqual(await messages.cancel({ all: true }), { cancelled: 0 });
  },

  async "messages are cancelled by a filter"(given) {
    const { client, destination } = given;
    const { messages } = client;
    const host = new URL(destination.url()).host;
    const cancel = async (filter) => (await messages.cancel({ filter })).cancelled;
    await waiting(given, 1, { label: "blue" });
    await waiting(given, 1, { label: "green" });
    await waiting(given, 2, { flowControl: { key: "k", rate: 1 } });
    await waiting(given, 1, { url: destination.url("/p?q=1") });
    await waiting(given, 1, { url: destination.url("/r") });
    await waiting(given, 1);
    assert.equal(await cancel({ label: "blue", flowControlKey: "k" }), 0);
    assert.equal(await cancel({ label: ["blue", "green", "red"] }), 2);
    assert.equal(await cancel({ flowControlKey: "k" }), 2);
    assert.equal(await cancel({ path: "/p" }), 1);
    assert.equal(await cancel({ url: destination.url("/r"), host: "other.test" }), 0);
    assert.equal(await cancel({ url: destination.url("/r") }), 1);
    assert.equal(await cancel({ toDate: 5 }), 0);
    assert.equal(await cancel({ host: ["other.test", host], fromDate: new Date(5) }), 1);
  },

  async "a bulk cancel takes all that match, whatever the count"(given) {
    await waiting(given, 2, { label: "blue" });
    const { messages } = given.client;
    const cancelled = await messages.cancel({ filter: { label: "blue" }, count: 1 });
    assert.deepEqual(cancelled, { cancelled: 2 });
  },

  async "messages of queues, groups and schedules are cancelled apart"(given) {
    const { client, destination } = given;
    const queue = client.queue({ queueName: "orders" });
    await queue.upsert({ parallelism: 1, paused: true });
    await queue.enqueue({ url: destination.url() });
    await client.urlGroups.addEndpoints({ name: "all", endpoints: [{ url: destination.url() }] });
    await client.publish({ urlGroup: "all", delay: "1h" });
    const cancel = async (filter) => (await client.messages.cancel({ filter })).cancelled;
    assert.equal(await cancel({ scheduleId: "scd_1" }), 0);
    assert.equal(await cancel({ queueName: "orders" }), 1);
    assert.equal(await cancel({ urlGroup: "all" }), 1);
  },

  async "an unknown filter is refused"(given) {
    await waiting(given, 1);
    const { messages } = given.client;
    const refused = (error) => error.status === 400 && error.message.includes("labeel");
    await assert.rejects(messages.cancel({ filter: { labeel: "blue" } }), refused);
    assert.deepEqual(await messages.cancel({ all: true }), { cancelled: 1 });
  },

  async "a log lists the states of a message"({ client, destination, until }) {
    const { messageId } = await client.publishJSON({
      url: destination.url("/flaky/1"), body: 1, retryDelay: "1", label: ["blue", "green"],
    });
    await until(messageId, "DELIVERED");
    const { logs, cursor } = await client.logs({ filter: { messageId } });
    assert.equal(cursor, undefined);
    assert.deepEqual(logs.map(({ state }) => state).reverse(),
      ["CREATED", "ACTIVE", "ERROR", "RETRY", "ACTIVE", "DELIVERED"]);
    for (const line of logs) {
      assert.deepEqual([line.messageId, line.url], [messageId, destination.url("/flaky/1")]);
      assert.deepEqual([line.label, line.labels], ["blue", ["blue", "green"]]);
      assert.equal(atob(line.body), "1");
    }
    const error = logs.find(({ state }) => state === "ERROR");
    assert.equal(error.responseStatus, 503);
    assert.equal(atob(error.responseBody), "503 Service Unavailable");
    assert.ok(error.error);
    assert.deepEqual((await client.events({ filter: { messageId } })).events, logs);
  },

  async "logs are filtered"(given) {
    const { client, destination } = given;
    const { host, pathname } = new URL(destination.url("/p"));
    const [blue] = await waiting(given, 1, { label: "blue", url: destination.url("/p?q=1,2") });
    const [green] = await waiting(given, 1, { label: "green" });
    await waiting(given, 1, { url: "https://other.test/" });
    const found = async (filter) =>
      new Set((await client.logs({ filter })).logs.map(({ messageId }) => messageId));
    assert.deepEqual(await found({ label: ["blue", "green"] }), new Set([blue, green]));
    assert.deepEqual(await found({ label: "blue,green" }), new Set([blue, green]));
    assert.deepEqual(await found({ url: destination.url("/p?q=1,2") }), new Set([blue]));
    assert.deepEqual(await found({ host }), new Set([blue, green]));
    assert.deepEqual(await found({ path: pathname }), new Set([blue]));
    assert.deepEqual(await found({ label: "red" }), new Set());
    assert.deepEqual(await found({ state: "DELIVERED" }), new Set());
    assert.equal((await client.logs({ messageIds: [blue, green] })).logs.length, 2);
    assert.equal((await client.logs({ filter: { label: "red" } })).cursor, undefined);
  },

  async "logs come in pages"(given) {
    const ids = await waiting(given, 3);
    const { client } = given;
    const first = await client.logs({ count: 2 });
    assert.equal(first.logs.length, 2);
    const rest = await client.logs({ count: 2, cursor: first.cursor });
    const seen = [...first.logs, ...rest.logs].map(({ messageId }) => messageId);
    assert.deepEqual(seen, ids.reverse());
    assert.equal(rest.cursor, undefined);
  },
};
