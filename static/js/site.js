// What htmx leaves to the page: saying that the server cannot be reached, and keeping the
// focus on the button. Polling itself goes on: htmx asks again at the next tick.
(() => {
  const offline = () => document.getElementById("offline");
  const announce = (text) => {
    document.getElementById("announcement").textContent = text;
  };
  const isStart = (event) => ["start", "lab"].includes(event.detail.elt.id);

  function lost(event) {
    if (isStart(event)) {
      failed("The server did not answer. Try again in a moment.");
    } else if (offline().hidden) {
      offline().hidden = false;
      announce("Connection lost.");
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

  function refused(event) {
    const status = event.detail.xhr.status;
    if (isStart(event)) {
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

  function answered(event) {
    if (event.detail.successful && !offline().hidden) {
      offline().hidden = true;
      announce("Connected again.");
    }
    if (isStart(event)) {
      // Disabling a button takes its focus away; give it back where nothing else took it.
      setTimeout(() => {
        if (document.activeElement === document.body) {
          event.detail.elt.querySelector("button").focus();
        }
      });
    }
  }

  document.addEventListener("htmx:sendError", lost);
  document.addEventListener("htmx:timeout", lost);
  document.addEventListener("htmx:responseError", refused);
  document.addEventListener("htmx:afterRequest", answered);
})();

// Moments in the visitor's zone, and buttons that copy an id; also in what htmx has just added.
(() => {
  function prepare(root) {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(time.dateTime);
      const clock = at.toLocaleTimeString(undefined, { hourCycle: "h23" });
      time.textContent = "date" in time.dataset ? `${at.toLocaleDateString()} ${clock}` : clock;
      time.dataset.local = "";
    }
    for (const button of root.querySelectorAll("button.copy[hidden]")) {
      button.hidden = !navigator.clipboard;
    }
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button.copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    document.getElementById("announcement").textContent = "Copied.";
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt.parentElement ?? document));
  prepare(document);
})();

// The strip: a part with the same version stays as the visitor has left it, a list takes only the
// items that are new or have changed, and the seconds that are left are counted down.
(() => {
  const isSame = (one, other) => one.dataset.version === other.dataset.version;

  function mergeItems(list, next) {
    const ids = new Set([...next.children].map((item) => item.id));
    for (const item of [...list.children]) {
      if (!ids.has(item.id)) item.remove();
    }
    for (const item of [...next.children]) {
      const old = document.getElementById(item.id);
      if (!old) list.append(item);
      else if (!isSame(old, item)) old.replaceWith(item);
    }
  }

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    const part = fragment.firstElementChild;
    if (!part || part.id !== target.id) return;
    if ("merge" in target.dataset) mergeItems(target, part);
    else if (!target.dataset.version || !isSame(target, part)) return;
    event.preventDefault();
  });

  setInterval(() => {
    for (const time of document.querySelectorAll("time.countdown")) {
      const left = Math.max(0, Math.ceil((new Date(time.dateTime) - Date.now()) / 1000));
      if (time.textContent !== `${left} s`) time.textContent = `${left} s`;
    }
  }, 250);
})();
