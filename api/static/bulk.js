// Bulk grants: batch after batch without a press for each. Without a script, the button does one at a time.
(() => {
  const STARTED = "bulk-started";

  // Who has pressed Start on the preview need not press again; who only opens the page of a bulk grant must.
  const remember = (value) => {
    try {
      if (value) sessionStorage.setItem(STARTED, value);
      else sessionStorage.removeItem(STARTED);
    } catch {
      // Storage is switched off: the button has to be pressed.
    }
  };
  const remembered = () => {
    try {
      return sessionStorage.getItem(STARTED);
    } catch {
      return null;
    }
  };
  document.querySelector("[data-bulk-starts]")?.addEventListener("submit", () => remember("yes"));

  // A file is as good a name as any.
  const file = document.querySelector("[data-bulk-file]");
  file?.addEventListener("change", () => {
    const name = file.form.elements.name;
    if (file.files.length && !name.value) name.value = file.files[0].name.replace(/\.[^.]*$/, "").slice(0, 200);
  });

  const box = document.querySelector("[data-bulk]");
  const form = box?.querySelector("[data-bulk-form]");
  const started = remembered();
  remember(null);
  if (!form) return;

  const button = form.querySelector("button");
  const pause = box.querySelector("[data-bulk-pause]");
  const bar = box.querySelector("progress");
  const stale = document.querySelector("[data-bulk-stale]");
  const state = box.querySelector("[data-bulk-state]");
  const fault = box.querySelector("[data-bulk-fault]");
  const WAITS = [1, 2, 4, 8, 15];
  let running = false;
  let spoken = Math.floor((10 * bar.value) / bar.max);

  const show = (progress) => {
    bar.max = progress.rows;
    bar.value = progress.done;
    for (const [name, text] of Object.entries(progress.texts)) {
      document.querySelectorAll(`[data-bulk-text="${name}"]`).forEach((place) => (place.textContent = text));
    }
    // A tenth at a time: a screen reader could not keep up with every batch.
    const tenth = Math.floor((10 * progress.done) / progress.rows);
    if (tenth !== spoken) {
      spoken = tenth;
      document.getElementById("live").textContent = `${progress.texts.percent}: ${progress.texts.done} done.`;
    }
  };
  const run = (on) => {
    running = on;
    button.hidden = on;
    button.textContent = button.dataset.scripted;
    pause.hidden = !on;
    // What became of the rows is told anew when the page is loaded again.
    stale.hidden = on;
    if (on) fault.hidden = true;
  };
  const fail = (text, link) => {
    run(false);
    fault.hidden = false;
    fault.textContent = text;
    if (link) {
      const anchor = Object.assign(document.createElement("a"), { href: location.href, textContent: link });
      fault.append(" ", anchor);
    }
  };
  const later = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

  const step = () =>
    fetch(form.action, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRFToken": form.elements.csrf_token.value },
      redirect: "error",
    });

  const go = async () => {
    run(true);
    const GRANTING = "Granting. You can pause, or leave this page and go on later.";
    state.textContent = GRANTING;
    let tries = 0;
    while (running) {
      let answer = null;
      try {
        answer = await step();
      } catch {
        // No connection: what was granted stays, and the next try goes on from there.
      }
      if (answer?.ok) {
        if (tries) state.textContent = GRANTING;
        tries = 0;
        const progress = await answer.json();
        show(progress);
        if (!progress.pending) {
          location.replace(form.dataset.done);
          return;
        }
      } else if (answer && answer.status < 500) {
        const ended = answer.status === 401 || answer.status === 400;
        fail(
          ended
            ? "Your session has ended. What was granted stays; sign in to go on."
            : "This was refused. What was granted stays.",
          ended ? "Sign in" : "Look again"
        );
        return;
      } else if (tries === WAITS.length) {
        fail("The server does not answer. What was granted stays; go on when it is back.");
        return;
      } else {
        state.textContent = "The server does not answer; trying again.";
        await later(WAITS[tries++]);
      }
    }
    location.replace(form.dataset.done);
  };

  button.textContent = button.dataset.scripted;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) go();
  });
  pause.addEventListener("click", () => {
    running = false;
    pause.disabled = true;
    state.textContent = "Pausing after this batch.";
  });
  if (started) go();
})();
