// Keep an open page up to date: ask its URL of changes, and put what has changed in its place.
//
// <div id="live" data-live="/jobs/changes" data-version="42"></div>
(() => {
  const FAST = 500;
  const SLOW = 5000;
  const page = document.getElementById("live");
  if (!page) return;
  let pause = FAST;
  let timer;
  const tell = (what) => document.dispatchEvent(new Event(`live:${what}`));

  async function ask() {
    clearTimeout(timer);
    try {
      const url = new URL(page.dataset.live, location);
      url.searchParams.set("since", page.dataset.version);
      const answer = await fetch(url, { headers: { "HX-Request": "true" } });
      if (answer.status === 404) return location.reload(); // what the page is about is gone
      tell(answer.ok ? "back" : "lost");
      if (answer.status === 200) {
        page.dataset.version = answer.headers.get("Live-Version");
        htmx.swap(page, await answer.text(), { swapStyle: "none" });
        pause = FAST;
      } else {
        pause = Math.min(pause * 1.2, SLOW);
      }
    } catch {
      tell("lost");
      pause = Math.min(pause * 2, SLOW);
    }
    timer = setTimeout(ask, pause);
  }

  // Something has been clicked: news will follow soon.
  document.addEventListener("htmx:afterRequest", () => {
    pause = FAST;
    clearTimeout(timer);
    timer = setTimeout(ask, pause);
  });
  timer = setTimeout(ask, pause);
})();
