// Small things every page shares. All of it is a comfort: pages work without.
(() => {
  "use strict";

  // --- Theme: auto, light or dark, remembered in this browser ------------------------------------------------------
  const root = document.documentElement;

  function markTheme() {
    const current = root.dataset.theme || "auto";
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === current));
    }
  }

  function chooseTheme(theme) {
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    try {
      if (theme === "auto") localStorage.removeItem("slipway-theme");
      else localStorage.setItem("slipway-theme", theme);
    } catch {
      // Not remembered, but applied.
    }
    markTheme();
  }

  // --- Toasts ------------------------------------------------------------------------------------------------------
  function toast(text, kind = "danger") {
    const area = document.getElementById("messages");
    const template = document.getElementById("toast-template");
    if (!area || !template) return;
    for (const shown of area.querySelectorAll(".toast-message")) {
      if (shown.querySelector("[data-toast-text]")?.textContent.trim() === text) return;
    }
    const message = template.content.firstElementChild.cloneNode(true);
    message.classList.add(`toast-${kind}`);
    message.querySelector("[data-toast-text]").textContent = text;
    area.append(message);
  }

  // --- Menus: <details class="menu"> closes on Escape and on a click elsewhere --------------------------------------
  function closeMenus(except) {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!except || !menu.contains(except)) menu.open = false;
    }
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    closeMenus(event.target);
    const choice = event.target.closest("[data-theme-choice]");
    if (choice) chooseTheme(choice.dataset.themeChoice);
    event.target.closest("[data-dismiss]")?.closest(".toast-message")?.remove();
    const copy = event.target.closest("[data-copy]");
    if (copy) navigator.clipboard?.writeText(copy.dataset.copy).then(() => toast("Copied.", "success"));
  });

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      const open = [...document.querySelectorAll("details.menu[open]")].pop();
      if (open) {
        open.open = false;
        open.querySelector("summary")?.focus();
      }
    }
    const typing = event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      const search = document.querySelector("input[type=search]");
      if (search) {
        event.preventDefault();
        search.focus();
      }
    }
  });

  // --- A form is sent once: a second click while the first is on its way does nothing -------------------------------
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || form.target === "_blank" || event.defaultPrevented) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    for (const button of form.querySelectorAll("button:not([type=button])")) button.setAttribute("aria-disabled", "true");
    // The user may have stopped the page from loading.
    setTimeout(() => allowAgain(form), 10000);
  });

  function allowAgain(form) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("[aria-disabled]")) button.removeAttribute("aria-disabled");
  }

  // A page that comes back from the browser's history can be sent again.
  window.addEventListener("pageshow", () => {
    document.querySelectorAll("form[data-sent]").forEach(allowAgain);
  });

  // --- Relative times; the words are those of config/templatetags/slipway.py ----------------------------------------
  function relative(at) {
    const seconds = (Date.now() - at.getTime()) / 1000;
    const distance = Math.abs(seconds);
    let words;
    if (distance < 60) return "just now";
    if (distance < 3600) words = `${Math.floor(distance / 60)} min`;
    else if (distance < 86400) words = `${Math.floor(distance / 3600)} h`;
    else if (distance < 30 * 86400) words = `${Math.floor(distance / 86400)} d`;
    else return null;
    return seconds > 0 ? `${words} ago` : `in ${words}`;
  }

  function refreshTimes() {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const words = relative(new Date(time.dateTime));
      if (words && time.textContent !== words) time.textContent = words;
    }
  }

  // --- htmx: say when something went wrong; never swap an error over what the user sees -----------------------------
  document.addEventListener("htmx:sendError", () => toast("Slipway could not be reached. Nothing was lost."));
  document.addEventListener("htmx:timeout", () => toast("Slipway did not answer in time. Nothing was lost."));
  document.addEventListener("htmx:responseError", (event) => {
    const { status, responseText } = event.detail.xhr;
    const page = new DOMParser().parseFromString(responseText || "", "text/html");
    const said = page.querySelector("[data-error-message]")?.textContent.trim();
    if (said) toast(said);
    else if (status === 404) toast("This is not there any more. Reload the page to see what is.");
    else if (status === 403) toast("You may not do this, or your sign-in has changed. Reload the page.");
    else toast("Slipway could not do this. Nothing was lost; try again in a moment.");
  });
  // An expired sign-in answers a fragment's request with a redirect to the sign-in page: go there, do not swap it in.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const answered = event.detail.xhr.responseURL && new URL(event.detail.xhr.responseURL).pathname;
    const signIn = document.body.dataset.signIn;
    if (signIn && answered === signIn) {
      event.detail.shouldSwap = false;
      window.location.assign(`${signIn}?next=${encodeURIComponent(window.location.pathname + window.location.search)}`);
    }
  });
  // A swap keeps menus open that the user has open, by their id, and the height of what is replaced.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const target = event.detail.target;
    if (!(target instanceof Element)) return;
    event.detail.target.dataset.open = [...target.querySelectorAll("details[id][open]")].map((menu) => menu.id).join(" ");
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const id of (event.detail.target.dataset?.open || "").split(" ").filter(Boolean)) {
      const menu = document.getElementById(id);
      if (menu) menu.open = true;
    }
    refreshTimes();
  });

  // --- What asks again and again rests while nobody looks, and asks at once when somebody does ----------------------
  const polls = "[hx-get][hx-trigger^='every ']";
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches(polls)) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const poll of document.querySelectorAll(polls)) htmx.ajax("GET", poll.getAttribute("hx-get"), { source: poll });
  });

  markTheme();
  refreshTimes();
  setInterval(refreshTimes, 20000);
})();
