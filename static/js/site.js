// What htmx leaves to the page: saying that the server cannot be reached, finding a job whose
// answer was lost, and keeping the focus on the button.
(() => {
  const offline = () => document.getElementById("offline");
  const announce = (text) => {
    document.getElementById("announcement").textContent = text;
  };
  const isStart = (event) => ["start", "lab"].includes(event.detail.elt?.id);

  function lost(event, words) {
    if (isStart(event)) {
      failed(words ?? "The server did not answer. Try again in a moment.");
      find(event.detail.elt.elements.key.value);
    } else if (offline().hidden || words) {
      words ??= "Connection lost.";
      offline().lastChild.data = ` ${words} This page goes on by itself when the server is back.`;
      offline().hidden = false;
      announce(words);
    }
  }

  function failed(reason) {
    const notice = document.createElement("p");
    notice.className = "notice problem";
    notice.innerHTML = '<span class="icon" aria-hidden="true">✕</span> ';
    notice.append(`Failed to start background job. ${reason}`);
    document.getElementById("result").replaceChildren(notice);
    announce(notice.lastChild.data);
  }

  // The answer to the form was lost. It may have started a job all the same: look for it, until
  // the form is sent again. The same key starts no second one.
  function find(key, tries = 5) {
    const field = document.getElementById("key");
    if (!tries || field?.value !== key) return;
    setTimeout(async () => {
      if (field.value !== key) return;
      const url = `${document.getElementById("result").dataset.find}?key=${key}`;
      const answer = await fetch(url, { headers: { "HX-Request": "true" } }).catch(() => null);
      if (answer?.status === 200) {
        htmx.swap("#result", await answer.text(), { swapStyle: "innerHTML" });
      } else {
        find(key, tries - 1);
      }
    }, 1000);
  }

  function refused(event) {
    const { status, responseText } = event.detail.xhr;
    const isText = event.detail.xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
    if (status === 503 && isText) {
      lost(event, responseText); // it may have been done all the same
    } else if (isStart(event)) {
      failed(
        status === 403
          ? "This page is too old. Reload it, and check that cookies are allowed."
          : `The server answered with an error (HTTP ${status}). Try again in a moment.`,
      );
    } else if (status === 404) {
      location.reload(); // the job is gone with its database; see what is left
    } else if (status >= 500) {
      lost(event);
    }
  }

  function back() {
    if (offline().hidden) return;
    offline().hidden = true;
    announce("Connected again.");
  }

  function answered(event) {
    if (event.detail.successful) back();
    if (event.detail.xhr?.status !== 429) document.getElementById("refused").replaceChildren();
    if (event.detail.elt.matches?.("form")) {
      // Disabling a button takes its focus away; give it back where nothing else took it.
      setTimeout(() => {
        if (document.activeElement === document.body) {
          event.detail.elt.querySelector("button")?.focus();
        }
      });
    }
  }

  // htmx looks for the places of an answer in the tree of the form that was sent. The stream may
  // have replaced that form by now, so look on the page.
  function beforeSwap({ detail }) {
    const form = detail.requestConfig.elt;
    if (!detail.shouldSwap || form.isConnected) return;
    detail.shouldSwap = false;
    htmx.swap(detail.target, detail.serverResponse, { swapStyle: form.getAttribute("hx-swap") ?? "innerHTML" });
  }

  // live.js asks without htmx, and says here what came of it.
  document.addEventListener("live:lost", (event) => lost({ detail: { elt: event.target } }));
  document.addEventListener("live:back", () => back());
  document.addEventListener("htmx:sendError", lost);
  document.addEventListener("htmx:timeout", lost);
  document.addEventListener("htmx:responseError", refused);
  document.addEventListener("htmx:beforeSwap", beforeSwap);
  document.addEventListener("htmx:afterRequest", answered);
})();

// Moments in the visitor's zone, and buttons that copy an id; also in what htmx has just added.
(() => {
  function prepare(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local], .countdown)")) {
      const [day, clock] = new Date(time.dateTime).toLocaleString("sv").split(" "); // ISO 8601
      time.textContent = "date" in time.dataset ? `${day} ${clock}` : clock;
      time.dataset.local = "";
    }
    for (const button of root.querySelectorAll("button.copy[hidden]")) {
      button.hidden = !navigator.clipboard; // there is none on a site without HTTPS
      button.classList.toggle("useless", button.hidden);
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    const announcement = document.getElementById("announcement");
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      announcement.textContent = "The browser does not allow copying.";
      return;
    }
    const label = button.ariaLabel ?? button.textContent.trim();
    announcement.textContent = label.replace(/^Copy/, "Copied");
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 2000);
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement ?? document));
  prepare(document);
})();

// What has changed on a page comes as elements with ids and versions (data-version). Only those
// with another version are replaced, so what is selected, focused or opened stays. The answer to a
// click (data-merge="answer") may come after news that are newer. So it only adds what is missing, if
// the page is sent news; these show what the click has changed.
(() => {
  // The element in the place of `old`; a bar of steps shows every count on its way.
  function replace(old, next) {
    const [from, to] = [old, next].map((part) => part.querySelector("progress")?.value ?? NaN);
    // The focus was here, or was taken from a button that is disabled while its form is sent.
    const had = old.contains(document.activeElement) || old.querySelector("form.htmx-request");
    old.replaceWith(next);
    if (had && document.activeElement === document.body) next.querySelector("button")?.focus();
    htmx.process(next);
    htmx.trigger(next, "htmx:load");
    if (next.dataset.announce) announce(next);
    if (to - from > 1) count(next, from + 1, to);
  }

  // What has changed at the same time is announced together.
  let told = [];

  // "Job 0a1b2c3d: waiting for attempt 2 of 4 in 3 s: HTTP 500"
  function announce(part) {
    const words = part.cloneNode(true);
    for (const icon of words.querySelectorAll(".icon")) icon.remove();
    told.push(`${part.dataset.announce}: ${words.textContent.replace(/\s+/g, " ").trim()}`);
    queueMicrotask(() => {
      if (told.length) document.getElementById("announcement").textContent = told.join(". ");
      told = [];
    });
  }

  function count(part, number, last) {
    const bar = part.querySelector("progress");
    if (!part.isConnected || !bar) return;
    bar.value = number;
    bar.nextElementSibling.textContent = `${number} of ${bar.max} step${bar.max === 1 ? "" : "s"} done`;
    if (number < last) setTimeout(count, 60, part, number + 1, last);
  }

  function merge(old, next) {
    if (!("merge" in next.dataset)) {
      if (old.dataset.version !== next.dataset.version) replace(old, next);
      return;
    }
    const ids = new Set([...next.children].map((child) => child.id));
    let before = null;
    for (const part of [...next.children].filter((child) => child.id)) {
      const same = document.getElementById(part.id);
      if (same) {
        merge(same, part);
      } else if (before) {
        before.after(part);
      } else {
        old.prepend(part);
      }
      before = document.getElementById(part.id);
    }
    for (const part of [...old.children].filter((child) => child.id && child.matches("li"))) {
      if (!ids.has(part.id)) part.remove();
    }
  }

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { fragment, target } = event.detail;
    for (const next of fragment.querySelectorAll("[data-merge], [data-version]")) {
      const old = fragment.contains(next) && document.getElementById(next.id);
      if (!old) continue;
      const isLeftToNews = next.dataset.merge === "answer" && document.getElementById("live");
      if (!isLeftToNews) merge(old, next);
      if (old === target) event.detail.shouldSwap = false;
      if (fragment.contains(next)) next.remove();
    }
  });
})();

// Seconds that are left, counted down.
setInterval(() => {
  for (const time of document.querySelectorAll("time.countdown")) {
    const left = Math.max(0, Math.ceil((new Date(time.dateTime) - Date.now()) / 1000));
    if (time.textContent !== `${left} s`) time.textContent = `${left} s`;
  }
}, 250);
