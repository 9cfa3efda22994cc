// Run in the page at one width: what of it cannot be read or reached there. Returns sentences.

const faults = new Set();
const { clientWidth, clientHeight, scrollWidth, scrollHeight } = document.documentElement;
const viewport = { left: 0, right: clientWidth };
if (scrollWidth > clientWidth) faults.add(`the page is ${scrollWidth} px wide`);
const contentHeight = Math.ceil(document.body.getBoundingClientRect().height);
if (scrollHeight > Math.max(clientHeight, contentHeight)) faults.add(`the page goes on for ${scrollHeight - contentHeight} px below its content`);

const nameOf = (element) => `${element.tagName.toLowerCase()}.${element.className || element.dataset.role || element.id}`;
const isVisible = (element) => {
    // What only screen readers are given is cut on purpose.
    return element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && getComputedStyle(element).clipPath === "none";
};

// The elements around one, itself included, that cut what does not fit into them, from the inside out.
const known = new Map();
const cuttersOf = (element) => {
    if (element === document.body) return [];
    let cutters = known.get(element);
    if (cutters) return cutters;
    const { overflowX, overflowY } = getComputedStyle(element);
    cutters = cuttersOf(element.parentElement);
    if (overflowX !== "visible" || overflowY !== "visible") {
        const around = element.getBoundingClientRect();
        cutters = [{ element, around, scrollsDown: ["auto", "scroll"].includes(overflowY) }, ...cutters];
    }
    known.set(element, cutters);
    return cutters;
};

// What can be scrolled to counts as shown, if that is down.
const check = (element, box, what) => {
    if (box.left < viewport.left - 1 || box.right > viewport.right + 1) faults.add(`${what} is outside of the window`);
    let { top, bottom } = box;
    for (const { element: cutter, around, scrollsDown } of cuttersOf(element)) {
        const beside = box.left < around.left - 1 || box.right > around.right + 1;
        const below = !scrollsDown && (top < around.top - 1 || bottom > around.bottom + 1);
        if (beside || below) faults.add(`${what} is cut by ${nameOf(cutter)}`);
        if (scrollsDown) ({ top, bottom } = around);
    }
};
const isInSight = (element, box) => cuttersOf(element).every(({ around }) => box.bottom > around.top && box.top < around.bottom);

// Texts.
const quoted = (node) => `"${node.textContent.trim().slice(0, 40)}"`;
const shown = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const isOther = ["SCRIPT", "OPTION", "NOSCRIPT"].includes(element.tagName);
    if (node.textContent.trim() === "" || isOther || !isVisible(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
        check(element, box, quoted(node));
        if (isInSight(element, box)) shown.push({ node, box });
    }
}
shown.sort((a, b) => a.box.top - b.box.top);
shown.forEach(({ node, box }, i) => {
    for (const other of shown.slice(i + 1)) {
        if (other.box.top >= box.bottom - 1) break;
        const isApart = other.box.left >= box.right - 1 || other.box.right <= box.left + 1;
        if (!isApart && other.node !== node) faults.add(`${quoted(node)} and ${quoted(other.node)} overlap`);
    }
});

// Controls, and what they say before anything is typed into them.
const canvas = document.createElement("canvas").getContext("2d");
for (const control of document.querySelectorAll("button, input:not([role=switch]), select, textarea, .track")) {
    if (!isVisible(control)) continue;
    check(control, control.getBoundingClientRect(), nameOf(control));
    const style = getComputedStyle(control);
    canvas.font = style.font;
    const isList = control.tagName === "SELECT";
    const texts = isList ? Array.from(control.options, ({ text }) => text) : [control.placeholder ?? ""];
    // A list has an arrow at its end.
    const room = control.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - (isList ? 20 : 0);
    const tooWide = control.tagName === "TEXTAREA" ? [] : texts.filter((text) => canvas.measureText(text).width > room + 1);
    for (const text of tooWide) faults.add(`${nameOf(control)} has no room for "${text}"`);
}
return Array.from(faults);
