// Swagger UI on Slipway's own description. Requests that are tried here go out as the person who is signed in, with the
// CSRF token that every write wants; or with an API token, where one was given to “Authorize”.
(() => {
  const place = document.getElementById("api-docs");
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");

  const followTheme = () => {
    const theme = root.dataset.theme;
    root.classList.toggle("dark-mode", theme ? theme === "dark" : system.matches);
  };
  followTheme();
  system.addEventListener("change", followTheme);
  new MutationObserver(followTheme).observe(root, { attributeFilter: ["data-theme"] });

  SwaggerUIBundle({
    domNode: place,
    url: place.dataset.description,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: -1,
    displayRequestDuration: true,
    filter: true,
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (new URL(request.url, location.href).origin === location.origin) request.headers["X-CSRFToken"] = place.dataset.csrfToken;
      return request;
    },
  });
})();
