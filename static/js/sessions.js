// The session pages' comforts: ticking times, a log that stays at its end, and focus that is never lost to a swap.
(() => {
  "use strict";

  // --- How long a step has been going on; the words are those of sessions/detail.py -------------------------------
  function duration(seconds) {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }

  setInterval(() => {
    for (const element of document.querySelectorAll("[data-since]")) {
      const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(element.dataset.since)) / 1000));
      element.textContent = duration(seconds);
    }
  }, 1000);

  // --- The log shows its end, unless the reader has scrolled up -----------------------------------------------------
  let readAt = null;

  document.addEventListener("htmx:beforeSwap", (event) => {
    const log = event.detail.target?.id === "log" ? event.detail.target.querySelector("[data-log]") : null;
    const atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    readAt = atEnd ? null : log.scrollTop;
  });

  function showEnd() {
    const log = document.querySelector("[data-log]");
    if (log) log.scrollTop = readAt ?? log.scrollHeight;
  }

  // --- Focus: the button that was pressed is gone after its swap; go on from the nearest thing that stayed -----------
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target?.id === "log") showEnd();
    const pressed = event.detail.requestConfig?.elt;
    if (!(pressed instanceof HTMLFormElement) || pressed.method !== "post" || document.activeElement !== document.body) return;
    const host = pressed.querySelector("button[id]")?.id.replace(/^[a-z]+-/, "");
    const next = document.getElementById(`menu-${host}`) || document.getElementById("main");
    next?.focus({ preventScroll: true });
  });

  showEnd();
})();
