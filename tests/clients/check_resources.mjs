// The TypeScript SDK sets up queues, schedules, URL groups and flow control.
import assert from "node:assert/strict";

const gone = (error) => error.status === 404;

export const checks = {
  async "a queue is created, changed, listed and deleted"({ client }) {
    const queue = client.queue({ queueName: "orders" });
    await queue.upsert({ parallelism: 2 });
    const { createdAt, updatedAt, ...shown } = await queue.get();
    assert.deepEqual(shown, { name: "orders", parallelism: 2, lag: 0, paused: false });
    assert.ok(0 < createdAt && createdAt <= updatedAt);
    await queue.upsert({ parallelism: 5, paused: true });
    const [listed, ...others] = await queue.list();
    assert.deepEqual([listed.parallelism, listed.paused, others.length], [5, true, 0]);
    await queue.delete();
    await assert.rejects(queue.get(), gone);
    assert.deepEqual(await queue.list(), []);
  },

  async "a queue delivers in order once it is resumed"({ client, destination, accepts }) {
    const queue = client.queue({ queueName: "orders" });
    await queue.upsert({ parallelism: 1 });
    await queue.pause();
    assert.equal((await queue.get()).paused, true);
    for (const body of [0, 1, 2]) await queue.enqueueJSON({ url: destination.url("/q"), body });
    await queue.enqueue({ url: destination.url("/q"), body: "last", method: "PUT" });
    assert.equal((await queue.get()).lag, 4);
    await queue.resume();
    const requests = await destination.received(4, "/q");
    assert.deepEqual(requests.map(({ body }) => body), ["0", "1", "2", "last"]);
    assert.equal(requests[3].method, "PUT");
    assert.ok(await accepts(requests[0], destination.url("/q")));
  },

  async "a schedule is created, read, paused and deleted"({ client }) {
    const { schedules } = client;
    const { scheduleId } = await schedules.create({
      destination: "https://a.test/",
      cron: " */5 * * * * ",
      body: "hi",
      headers: { "X-A": "1" },
      method: "PUT",
      retries: 2,
      delay: 60,
      queueName: "orders",
      label: ["blue", "green"],
      flowControl: { key: "k", parallelism: 2, rate: 3, period: 60 },
    });
    const schedule = await schedules.get(scheduleId);
    assert.deepEqual(schedule.header, { "Content-Type": ["application/json"], "X-A": ["1"] });
    assert.deepEqual(
      [schedule.cron, schedule.destination, schedule.method, schedule.body, schedule.retries],
      ["*/5 * * * *", "https://a.test/", "PUT", "hi", 2],
    );
    assert.deepEqual([schedule.delay, schedule.queueName, schedule.isPaused], [60, "orders", false]);
    assert.deepEqual([schedule.label, schedule.labels], ["blue", ["blue", "green"]]);
    assert.deepEqual([schedule.flowControlKey, schedule.parallelism], ["k", 2]);
    assert.deepEqual([schedule.ratePerSecond, schedule.period], [3, 60]);
    assert.ok(schedule.nextScheduleTime > Date.now());
    await schedules.pause({ schedule: scheduleId });
    assert.equal((await schedules.get(scheduleId)).isPaused, true);
    await schedules.resume({ schedule: scheduleId });
    assert.deepEqual((await schedules.list()).map(({ isPaused }) => isPaused), [false]);
    await schedules.delete(scheduleId);
    assert.deepEqual(await schedules.list(), []);
    await assert.rejects(schedules.get(scheduleId), gone);
  },

  async "a schedule of the same id is replaced as a whole"({ client }) {
    const { schedules } = client;
    const scheduleId = "mine";
    const cron = "* * * * *";
    await schedules.create({ destination: "https://a.test/", cron, scheduleId, body: "hi" });
    await schedules.create({ destination: "https://b.test/", cron: "1 * * * *", scheduleId });
    const [schedule, ...others] = await schedules.list();
    assert.deepEqual([schedule.destination, others.length], ["https://b.test/", 0]);
    assert.equal("body" in schedule, false);
    const bad = { destination: "https://a.test/", cron: "bad" };
    await assert.rejects(schedules.create(bad), (error) => error.status === 400);
  },

  async "a url group is created, changed, listed and deleted"({ client }) {
    const { urlGroups } = client;
    const endpoints = [{ name: "a", url: "https://a.test/" }, { url: "https://b.test/" }];
    await urlGroups.addEndpoints({ name: "all", endpoints });
    const group = await urlGroups.get("all");
    assert.deepEqual([group.name, group.endpoints], ["all", endpoints]);
    assert.ok(0 < group.createdAt && group.createdAt <= group.updatedAt);
    await urlGroups.removeEndpoints({ name: "all", endpoints: [{ name: "a" }] });
    assert.deepEqual((await urlGroups.list()).map((each) => each.endpoints), [[endpoints[1]]]);
    await client.topics.delete("all");
    await assert.rejects(urlGroups.get("all"), gone);
    await urlGroups.delete("all");
  },

  async "a url group delivers to each endpoint"({ client, destination, accepts }) {
    const endpoints = ["/a", "/b"].map((path) => ({ url: destination.url(path) }));
    await client.urlGroups.addEndpoints({ name: "all", endpoints });
    const published = await client.publishJSON({ urlGroup: "all", body: { n: 1 } });
    assert.deepEqual(published.map(({ url }) => url), endpoints.map(({ url }) => url));
    for (const path of ["/a", "/b"]) {
      const request = await destination.first(path);
      assert.equal(request.headers["upstash-topic-name"], "all");
      assert.ok(await accepts(request, destination.url(path)));
    }
    assert.equal((await client.messages.get(published[0].messageId)).urlGroup, "all");
  },

  async "flow control reports what messages asked for"({ client, destination }) {
    const flowControl = { key: "k", parallelism: 5, rate: 10, period: "1m" };
    await client.publish({ url: destination.url("/held"), flowControl });
    await destination.first("/held");
    const { ratePeriodStart, ...info } = await client.flowControl.get("k");
    assert.deepEqual(info, {
      flowControlKey: "k", waitListSize: 0, parallelismMax: 5, parallelismCount: 1, rateMax: 10,
      rateCount: 1, ratePeriod: 60, isPaused: false, isPinnedParallelism: false,
      isPinnedRate: false,
    });
    assert.ok(Math.abs(ratePeriodStart - Date.now() / 1000) < 30);
    await client.flowControl.resetRate("k");
    assert.equal((await client.flowControl.get("k")).rateCount, 0);
    await assert.rejects(client.flowControl.get("unknown"), gone);
  },

  async "flow control holds back what exceeds its rate"({ client, destination, eventually }) {
    const flowControl = { key: "k", rate: 2, period: "1h" };
    for (const body of ["1", "2", "3"]) {
      await client.publish({ url: destination.url(), body, flowControl });
    }
    await destination.received(2);
    const info = () => client.flowControl.get("k");
    await eventually(async () => (await info()).waitListSize === 1, "the waiting");
    assert.equal((await info()).rateCount, 2);
    await client.flowControl.resetRate("k");
    const requests = await destination.received(3);
    assert.deepEqual(requests.map(({ body }) => body).sort(), ["1", "2", "3"]);
  },

  async "a paused key delivers nothing until it is resumed"({ client, destination }) {
    const { flowControl } = client;
    await flowControl.pause("k");
    await client.publish({ url: destination.url(), flowControl: { key: "k", rate: 9 } });
    const { isPaused, waitListSize } = await flowControl.get("k");
    assert.deepEqual([isPaused, waitListSize, destination.requests], [true, 1, []]);
    await flowControl.resume("k");
    await destination.first();
    assert.equal((await flowControl.get("k")).isPaused, false);
  },

  async "pinned values outlast those of messages"({ client, destination }) {
    const { flowControl } = client;
    await flowControl.pin("k", { parallelism: 3, rate: 20, period: 120 });
    await client.publish({ url: destination.url(), flowControl: { key: "k", rate: 9 } });
    const pinned = await flowControl.get("k");
    assert.deepEqual([pinned.parallelismMax, pinned.rateMax, pinned.ratePeriod], [3, 20, 120]);
    assert.deepEqual([pinned.isPinnedParallelism, pinned.isPinnedRate], [true, true]);
    await flowControl.unpin("k", { parallelism: true, rate: true });
    const free = await flowControl.get("k");
    assert.deepEqual([free.isPinnedParallelism, free.isPinnedRate], [false, false]);
  },

  async "global parallelism is two numbers"({ client }) {
    const { parallelismMax, parallelismCount } = await client.flowControl.getGlobalParallelism();
    assert.ok(parallelismMax > parallelismCount && parallelismCount >= 0);
  },
};
