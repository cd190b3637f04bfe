// Mark the row in the list whose request is shown beside it; also after either was swapped.
(() => {
  function mark() {
    const shown = document.getElementById("detail")?.dataset.request;
    for (const link of document.querySelectorAll("#entries a")) {
      if (link.id === `request-${shown}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  document.addEventListener("htmx:load", mark);
})();
