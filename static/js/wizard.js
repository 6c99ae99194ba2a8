// Comfort for the wizard; without it every step works by its buttons. The server decides everything.
(() => {
  "use strict";
  const wizard = () => document.querySelector("[data-wizard]");
  const narrow = window.matchMedia("(max-width: 1100px)");
  let unsaved = false;
  let summaryOpen = !narrow.matches;

  // A control is invalid while an error stands at it; the messages are swapped alone, the control stays as it is.
  function markControls() {
    for (const region of document.querySelectorAll("[data-messages-for]")) {
      const control = document.getElementById(region.dataset.messagesFor);
      if (!control) continue;
      if (region.querySelector(".field-error")) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    }
  }

  function focusOn(id) {
    let target = id && document.getElementById(id);
    if (target?.tagName === "FIELDSET") target = target.querySelector("input:checked") || target.querySelector("input:not([type=hidden]), button");
    target?.focus();
  }

  function focusFirst() {
    const root = wizard();
    if (!root?.dataset.focus) return;
    focusOn(root.dataset.focus);
    delete root.dataset.focus;
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const reveal = event.target.closest("[data-reveal]");
    if (reveal) {
      const input = document.getElementById(reveal.dataset.reveal);
      const show = input.type === "password";
      input.type = show ? "text" : "password";
      reveal.setAttribute("aria-pressed", String(show));
    }
    const problem = event.target.closest(".wizard-error-list a");
    if (problem) {
      event.preventDefault();
      focusOn(problem.hash.slice(1));
    }
  });

  // The field that is being typed in is never replaced, whatever the server has made of it.
  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const { target, fragment } = event.detail;
    const typing = document.activeElement;
    if (target === typing && typing.matches("input:not([type=radio], [type=checkbox], [type=hidden])")) event.detail.shouldSwap = false;
    // Removing a row takes the pressed button away: go on at the button that adds one.
    if (target.matches?.(".wizard-row") && !fragment?.firstElementChild && target.contains(typing)) {
      target.closest(".wizard-rows")?.querySelector("[id^=add-]")?.focus();
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    markControls();
    focusFirst();
  });

  // What was typed in the last moment before leaving the page is saved on the way out.
  document.addEventListener("input", (event) => {
    if (event.target.closest?.("#wizard-form")) unsaved = true;
  });
  document.addEventListener("htmx:beforeSend", () => {
    unsaved = false;
  });
  // A step that is left before it was ever saved still has the address of a fresh wizard: Back is to find its draft.
  document.addEventListener("htmx:beforeHistoryUpdate", (event) => {
    const left = document.getElementById("wizard-form")?.getAttribute("action");
    if (left && event.detail.history.type === "push" && left !== location.pathname) history.replaceState(history.state, "", left);
  });
  document.addEventListener("htmx:sendError", () => {
    unsaved = true;
  });
  window.addEventListener("pagehide", () => {
    const form = document.getElementById("wizard-form");
    if (!unsaved || !form) return;
    const answers = new FormData(form);
    answers.set("intent", "save");
    navigator.sendBeacon(form.getAttribute("action"), answers);
    unsaved = false;
  });

  // On a narrow screen the summary starts folded, and stays as the user has it when a step is swapped in.
  function foldSummary() {
    const panel = document.getElementById("wizard-summary-panel");
    if (panel && narrow.matches) panel.open = summaryOpen;
  }
  document.addEventListener("click", (event) => {
    const panel = event.target instanceof Element && event.target.closest("#wizard-summary-panel > summary")?.parentElement;
    if (panel) summaryOpen = !panel.open; // a click comes before the panel follows it
  });
  document.addEventListener("htmx:afterSwap", foldSummary);
  narrow.addEventListener("change", () => {
    const panel = document.getElementById("wizard-summary-panel");
    if (panel && !narrow.matches) panel.open = true;
  });

  foldSummary();
  focusFirst();
})();
