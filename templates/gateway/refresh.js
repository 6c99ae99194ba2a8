// Looks again without loading the page anew, which would interrupt whoever reads it, until there is something new to say.
(() => {
  let first = null;
  async function look() {
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      const said = await answer.text();
      first ??= said;
      if (answer.status < 500 || said !== first) location.reload();
    } catch {
      // Not reachable now; the next look may be.
    }
    setTimeout(look, document.body.dataset.refresh * 1000);
  }
  look();
})();
