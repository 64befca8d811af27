// What is nicer with a script; every page does its work without one.
(() => {
  const each = (selector, act) => document.querySelectorAll(selector).forEach(act);

  // The theme: light, dark, or as the system has it.
  const showTheme = () =>
    each("[data-set-theme]", (button) =>
      button.setAttribute("aria-pressed", button.dataset.setTheme === document.documentElement.dataset.theme)
    );
  each("[data-set-theme]", (button) =>
    button.addEventListener("click", () => {
      try {
        localStorage.setItem("theme", button.dataset.setTheme);
      } catch {
        return; // Storage is switched off: the system decides.
      }
      dispatchEvent(new Event("theme"));
      showTheme();
    })
  );
  addEventListener("storage", showTheme);
  showTheme();

  // The navigation of a narrow screen.
  each("[data-toggles]", (button) =>
    button.addEventListener("click", () => {
      const open = button.getAttribute("aria-expanded") !== "true";
      button.setAttribute("aria-expanded", open);
      document.getElementById(button.dataset.toggles).classList.toggle("open", open);
    })
  );

  // Copying, said aloud too.
  const announce = (text) => {
    const live = document.getElementById("live");
    live.textContent = "";
    setTimeout(() => (live.textContent = text), 50);
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      announce("The browser does not let this page copy.");
      return;
    }
    button.classList.add("copied");
    announce("Copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  });

  // Who has just paid need not ask whether the word of it has come, unless they are at something else by then.
  each("[data-look-again]", (link) =>
    setTimeout(() => {
      if (!document.activeElement.matches("input, select")) location.replace(link.href);
    }, 2500)
  );

  // A form is sent once, however often its button is pressed; the database would take it once in any case.
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.method !== "post" || event.defaultPrevented) return;
    if (form.dataset.sent) {
      event.preventDefault();
      return;
    }
    form.dataset.sent = "yes";
    form.setAttribute("aria-busy", "true");
  });
  addEventListener("pageshow", () =>
    each("form[data-sent]", (form) => {
      delete form.dataset.sent;
      form.removeAttribute("aria-busy");
    })
  );

  // The key of a form goes into its address: the form that the back button shows is the same one, and is done once.
  each("form:has(button[value=preview]) [name=idempotency_key]", (key) => {
    const url = new URL(location.href);
    if (url.searchParams.has("idempotency_key")) return;
    url.searchParams.set("idempotency_key", key.value);
    history.replaceState(history.state, "", url);
  });

  // A filter is applied when something else is chosen.
  each("form[data-auto] select", (select) => select.addEventListener("change", () => select.form.requestSubmit()));

  // Charts: what is drawn where the pointer is.
  each("[data-chart]", (chart) => {
    const tip = document.createElement("div");
    tip.className = "chart-tip";
    tip.hidden = true;
    chart.append(tip);
    const svg = chart.querySelector(".chart-plot");
    const spots = [...svg.querySelectorAll("[data-tip]")];
    const cursor = svg.querySelector(".chart-cursor");
    const hide = () => {
      tip.hidden = true;
      spots.forEach((spot) => spot.classList.remove("hover"));
      cursor?.classList.remove("shown");
    };
    const show = (spot) => {
      hide();
      const [title, ...lines] = spot.dataset.tip.split("\n");
      const strong = document.createElement("strong");
      strong.textContent = title;
      const divs = lines.map((line) => Object.assign(document.createElement("div"), { textContent: line }));
      tip.replaceChildren(strong, ...divs);
      spot.classList.add("hover");
      tip.hidden = false;
      const frame = chart.getBoundingClientRect();
      const box = spot.getBoundingClientRect();
      const at = svg.getBoundingClientRect();
      const middle = spot.dataset.x
        ? at.left + (Number(spot.dataset.x) / svg.viewBox.baseVal.width) * at.width
        : box.left + box.width / 2;
      if (cursor && spot.dataset.x) {
        cursor.setAttribute("x1", spot.dataset.x);
        cursor.setAttribute("x2", spot.dataset.x);
        cursor.classList.add("shown");
      }
      // Beside what it tells of, and not over it.
      const away = (spot.dataset.x ? 0 : box.width / 2) + 10;
      const right = middle - frame.left + away;
      const fits = right + tip.offsetWidth <= frame.width;
      tip.style.left = `${fits ? right : Math.max(0, middle - frame.left - away - tip.offsetWidth)}px`;
      tip.style.top = `${at.top - frame.top + 4}px`;
    };
    svg.addEventListener("pointermove", (event) => {
      const spot = event.target.closest("[data-tip]");
      if (spot) show(spot);
      else hide();
    });
    svg.addEventListener("pointerleave", hide);
  });

  // The chosen tab is in sight where tabs scroll.
  each("[data-scrolls] [aria-current]", (tab) => tab.scrollIntoView({ block: "nearest", inline: "center" }));

  // Tabs beyond an edge are hinted at. A pixel may be lost to rounding.
  each("[data-scrolls]", (tabs) => {
    const hint = () => {
      tabs.classList.toggle("more-before", tabs.scrollLeft > 1);
      tabs.classList.toggle("more-after", tabs.scrollWidth - tabs.clientWidth - tabs.scrollLeft > 1);
    };
    tabs.addEventListener("scroll", hint, { passive: true });
    new ResizeObserver(hint).observe(tabs);
  });
})();
