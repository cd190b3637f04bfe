// Keep an open page up to date: the server sends what has changed, or the page asks for it, and
// it is put in its place.
//
// <div id="live" data-live="/jobs/changes" data-version="42"></div>
(() => {
  const FAST = 500;
  const SLOW = 5000;
  // A stream has to open within this time and to live for as long; otherwise something between
  // here and the server does not let streams through.
  const PATIENCE = 5000;
  const TRY_STREAM_AGAIN = 60_000;
  const page = document.getElementById("live");
  if (!page) return;

  let pause = FAST;
  let timer, stream;
  let turn = 0; // whatever belongs to an earlier turn has nothing to say any more
  let canStream = true;
  let refusedAt = 0;
  let away = false;

  const tell = (what) => document.dispatchEvent(new Event(`live:${what}`)); // see site.js

  function url() {
    const url = new URL(page.dataset.live, location);
    url.searchParams.set("since", page.dataset.version);
    for (const part of document.querySelectorAll("[data-live-part]")) {
      url.searchParams.append("part", part.dataset.livePart);
    }
    return url;
  }

  function stop() {
    turn += 1;
    clearTimeout(timer);
    stream?.close();
    stream = undefined;
  }

  function start() {
    stop();
    if (document.hidden) return; // a hidden page asks when it is seen again
    pause = FAST;
    canStream = true;
    listen();
  }

  function askIn(milliseconds) {
    clearTimeout(timer);
    timer = setTimeout(ask, milliseconds);
  }

  // The server answers a page that it cannot send a stream to with 204; then the page asks.
  function listen() {
    const began = Date.now();
    let opened = false;
    const ended = () => {
      stop();
      canStream = opened && Date.now() - began > PATIENCE;
      refusedAt = Date.now();
      // A server that restarts ends a thousand streams at once.
      askIn(canStream ? 2 * FAST * Math.random() : 0);
    };
    timer = setTimeout(ended, PATIENCE);
    stream = new EventSource(url());
    stream.onopen = () => {
      clearTimeout(timer);
      opened = true;
      answered();
    };
    stream.onmessage = (event) => show(event.data, event.lastEventId);
    stream.onerror = ended;
  }

  async function ask() {
    const mine = ++turn;
    try {
      const signal = AbortSignal.timeout(15000);
      const answer = await fetch(url(), { headers: { "HX-Request": "true" }, signal });
      const html = await answer.text();
      if (mine !== turn) return;
      if (answer.status === 404) return location.reload(); // see what is left
      if (!answer.ok) throw new Error(answer.statusText);
      pause = answer.status === 200 ? FAST : Math.min(pause * 1.2, SLOW);
      if (answer.status === 200) show(html, answer.headers.get("Live-Version"));
      canStream ||= away || Date.now() - refusedAt > TRY_STREAM_AGAIN;
      answered();
    } catch {
      if (mine !== turn) return;
      pause = Math.min(pause * 2, SLOW);
      away = true;
      tell("lost");
    }
    if (canStream && !away) listen();
    else askIn(pause);
  }

  function answered() {
    away = false;
    tell("back");
  }

  // Something may happen soon: do not wait for the end of a long pause.
  function hurry() {
    if (stream || pause === FAST || document.hidden) return;
    pause = FAST;
    askIn(FAST);
  }

  // A form has been answered, so there may be news already.
  function askNow() {
    if (stream || document.hidden) return;
    pause = FAST;
    askIn(0);
  }

  // --- What is new, put in its place

  const MERGED = "[data-merge], [data-version]";
  const held = new Map(); // by target; news that would take away what the visitor is busy with

  function show(html, version) {
    page.dataset.version = version;
    swap(html);
  }

  function swap(html) {
    const news = document.createElement("template");
    news.innerHTML = html;
    news.content.append(...replacements(news.content));
    for (const element of news.content.querySelectorAll("[hx-swap-oob]")) {
      const target = targetOf(element);
      if (!target || element.matches(MERGED)) continue;
      held.delete(target);
      if (isBusy(target)) {
        held.set(target, element);
        element.remove();
      } else {
        keepOpen(target, element);
      }
    }
    htmx.swap(page, news.innerHTML, { swapStyle: "none" });
  }

  // What is to be added but is there already, as the answer to a click has brought it. (site.js
  // merges what says so.)
  function replacements(content) {
    const added = [...content.querySelectorAll('[hx-swap-oob^="afterbegin"] > [id], [hx-swap-oob^="beforeend"] > [id]')];
    const known = added.filter((element) => document.getElementById(element.id) && !element.matches(MERGED));
    for (const element of known) element.setAttribute("hx-swap-oob", "true");
    return known;
  }

  // The element that is replaced, or whose content is.
  function targetOf(element) {
    const [style, selector] = element.getAttribute("hx-swap-oob").split(/:(.*)/s);
    if (!["true", "outerHTML", "innerHTML"].includes(style)) return null;
    return selector ? document.querySelector(selector) : document.getElementById(element.id);
  }

  function isBusy(target) {
    const focused = document.activeElement ?? document.body;
    // htmx gives the focus back to what has an id, but not what was typed.
    const isKept = focused.matches("summary") || (focused.id && !focused.matches("input, select, textarea"));
    const typing = target.contains(focused) && !isKept;
    const selection = getSelection();
    const selected = !selection.isCollapsed && selection.containsNode(target, true);
    return typing || selected || target.querySelector(":popover-open, dialog[open]") !== null;
  }

  function keepOpen(target, element) {
    const after = [...element.querySelectorAll("details")];
    [...target.querySelectorAll("details")].forEach((before, index) => {
      const same = before.id ? after.find((details) => details.id === before.id) : after[index];
      if (same && before.open) same.open = true;
      const [summary, next] = [before, same].map((details) => details?.querySelector("summary"));
      if (next && summary === document.activeElement) next.id = summary.id ||= "focused-summary";
    });
  }

  function release() {
    for (const [target, element] of held) {
      if (isBusy(target)) continue;
      held.delete(target);
      if (target.isConnected) swap(element.outerHTML);
    }
  }

  // The answer to a click brings what the stream has brought before it.
  document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
    for (const element of detail.fragment.children) {
      const known = element.id && document.getElementById(element.id);
      if (known && detail.target.contains(known) && known !== detail.target) known.remove();
    }
  });
  document.addEventListener("selectionchange", release);
  document.addEventListener("toggle", release, true);
  document.addEventListener("focusout", () => setTimeout(release));
  document.addEventListener("htmx:afterRequest", askNow);
  document.addEventListener("click", hurry);
  document.addEventListener("visibilitychange", start);
  window.addEventListener("online", start);
  window.addEventListener("pagehide", stop);
  window.addEventListener("pageshow", (event) => event.persisted && start());
  start();
})();
