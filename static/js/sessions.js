// The session pages' comforts: ticking times, a log and events that stay where they are read, and focus that is never lost to a swap.
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

  // --- A log shows its end and events their newest, unless the reader has scrolled: then what is read stays in place ---
  let logFromTop = null;
  let eventsFromEnd = null; // new ones come on top

  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target?.id !== "log") return;
    const log = event.detail.target.querySelector("[data-log]");
    const events = event.detail.target.querySelector("[data-events]");
    logFromTop = log && log.scrollHeight - log.scrollTop - log.clientHeight >= 40 ? log.scrollTop : null;
    eventsFromEnd = events && events.scrollTop > 0 ? events.scrollHeight - events.scrollTop : null;
  });

  function showWhatWasRead() {
    const log = document.querySelector("[data-log]");
    const events = document.querySelector("[data-events]");
    if (log) log.scrollTop = logFromTop ?? log.scrollHeight;
    if (events && eventsFromEnd !== null) events.scrollTop = events.scrollHeight - eventsFromEnd;
  }

  // What ended a session stands at the end of its last lines.
  function showTheEnd() {
    for (const lines of document.querySelectorAll("[data-log-end]")) lines.scrollTop = lines.scrollHeight;
  }
  showTheEnd();

  // --- Focus: the button that was pressed is gone after its swap; go on from the nearest thing that stayed -----------
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target?.id === "log") showWhatWasRead();
    if (event.detail.target?.id === "live") showTheEnd();
    const pressed = event.detail.requestConfig?.elt;
    if (!(pressed instanceof HTMLFormElement) || pressed.method !== "post" || document.activeElement !== document.body) return;
    const host = pressed.querySelector("button[id]")?.id.replace(/^[a-z]+-/, "");
    const next = document.getElementById(`menu-${host}`) || document.getElementById("main");
    next?.focus({ preventScroll: true });
  });

  showWhatWasRead();
})();
