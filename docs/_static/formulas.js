// Draws every formula of a page with the KaTeX of this folder.
document.addEventListener("DOMContentLoaded", () => {
  for (const element of document.querySelectorAll(".formula")) {
    katex.render(element.textContent, element, {
      displayMode: element.tagName === "DIV",
      throwOnError: false,
    });
  }
});
