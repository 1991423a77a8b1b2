/**
 * Two pure decisions that keep Markdown still while it is written: where a text can be cut into
 * blocks, so that only the last one is rendered again, and what its unfinished end looks like.
 */

const FENCE = /^ {0,3}(`{3,}|~{3,})/;
const ITEM = /^ {0,3}([-*+]|\d{1,9}[.)])\s/;
/** What may stand anywhere and means something everywhere: such a text is not cut. */
const DEFINITION = /^ {0,3}\[[^\]]+\]:\s/m;

/** The text in blocks that can be rendered one by one, each with the line breaks after it. */
export function blocks(text: string): string[] {
  if (DEFINITION.test(text)) return [text];
  const found: string[] = [];
  let block: string[] = [];
  let fence = "";
  let blank = false;
  const cut = () => {
    if (block.length > 0) found.push(block.join("\n"));
    block = [];
  };
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1] ?? "";
    if (!fence && blank && line.trim() && !continues(block, line)) cut();
    block.push(line);
    if (!fence) fence = mark;
    else if (mark.startsWith(fence) && line.trim() === mark) fence = "";
    blank = !fence && !line.trim();
  }
  cut();
  return found;
}

/** Whether a line after a blank one is still part of the block: a list goes on. */
function continues(block: string[], line: string): boolean {
  const first = block.find((one) => one.trim());
  if (first === undefined) return true;
  return ITEM.test(first) && (ITEM.test(line) || /^\s{2,}/.test(line));
}

/** The block that is being written, such that nothing in it is shown and then taken back. */
export function settled(block: string): string {
  const lines = block.split("\n");
  if (insideFence(lines)) return block;
  if (isUnfinishedTable(lines)) return "";
  const last = lines.pop() ?? "";
  // Alone at the end these are a rule, a heading of the line above, or an empty item, until more comes.
  if (!/^\s*([-*+=]+|\d+[.)]?|#{1,6}|>+|`{1,2}|~{1,2})\s*$/.test(last)) lines.push(last);
  return closed(withoutHalfLink(lines.join("\n")));
}

function insideFence(lines: string[]): boolean {
  let fence = "";
  for (const line of lines) {
    const mark = FENCE.exec(line)?.[1] ?? "";
    if (!fence) fence = mark;
    else if (mark.startsWith(fence) && line.trim() === mark) fence = "";
  }
  return fence !== "";
}

/** A table is one when its second line is whole; before that it would be shown as text. */
function isUnfinishedTable(lines: string[]): boolean {
  const [head = "", rule] = lines.filter((line) => line.trim());
  if (!head.trimStart().startsWith("|")) return false;
  if (rule === undefined) return true;
  const cells = (line: string) => line.split("|").length;
  const could = /^\s*\|[\s:|-]*$/.test(rule);
  return could && lines.length <= 2 && cells(rule) < cells(head);
}

/** `[text](http` is shown as its text until the address is whole. */
function withoutHalfLink(text: string): string {
  return text.replace(/!?\[([^\][\n]*)(?:\](?:\([^)\n]*)?)?$/, "$1");
}

/** Close what was opened with `**`, `*`, `~~` or a backtick and not closed yet. */
function closed(text: string): string {
  const end = text.trimEnd();
  const open: string[] = [];
  let shown = end.length;
  for (const { 0: mark, index } of end.matchAll(/\\.|`+|\*\*|\*|~~/g)) {
    if (mark.startsWith("\\")) continue;
    const top = open.at(-1);
    const next = end[index + mark.length];
    if (top === mark) open.pop();
    else if (top?.startsWith("`")) continue;
    else if (next === undefined) shown = index;
    else if (!/\s/.test(next)) open.push(mark);
  }
  return end.slice(0, shown) + open.reverse().join("");
}
