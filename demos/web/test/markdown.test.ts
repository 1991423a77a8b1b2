import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { blocks, settled } from "../src/ui/markdown";

const FOLDER = new URL("../../src/durable_demos/answers/", import.meta.url);
const ANSWERS = readdirSync(FOLDER).map((name) => readFileSync(new URL(name, FOLDER), "utf8"));

describe("blocks", () => {
  test("put together they are the text", () => {
    for (const text of ANSWERS) expect(blocks(text).join("\n")).toBe(text);
  });

  test("each is what Markdown takes as one", () => {
    const text = "# A\n\ntext\nmore\n\n- one\n\n- two\n\n  still two\n\nafter\n\n```\na\n\nb\n```\n\nend";
    expect(blocks(text).map((block) => block.trimEnd())).toEqual([
      "# A",
      "text\nmore",
      "- one\n\n- two\n\n  still two",
      "after",
      "```\na\n\nb\n```",
      "end",
    ]);
  });

  test("as the text grows, all but the last stay as they are", () => {
    for (const text of ANSWERS) {
      let before: string[] = [];
      for (let length = 1; length <= text.length; length += 7) {
        const now = blocks(text.slice(0, length));
        // A blank line may turn out to belong to the block before it: a list that goes on.
        const kept = before.slice(0, -1);
        expect(now.slice(0, kept.length)).toEqual(kept);
        before = now;
      }
    }
  });

  test("a text with definitions is not cut", () => {
    expect(blocks("see [it][1]\n\n[1]: http://a.example")).toHaveLength(1);
  });
});

describe("settled", () => {
  test.each([
    ["a **bold", "a **bold**"],
    ["a **bold *and", "a **bold *and***"],
    ["a **", "a "],
    ["a `code", "a `code`"],
    ["a `**` b", "a `**` b"],
    ["a ~~b", "a ~~b~~"],
    ["2 * 3", "2 * 3"],
    ["escaped \\*", "escaped \\*"],
    ["see [the", "see the"],
    ["see [the page](http", "see the page"],
    ["see ![a picture](http", "see a picture"],
    ["see [the page](http://a.example)", "see [the page](http://a.example)"],
    ["text\n-", "text"],
    ["text\n--", "text"],
    ["text\n==", "text"],
    ["- one\n-", "- one"],
    ["1. one\n2.", "1. one"],
    ["##", ""],
    ["``", ""],
    ["```py\na **b", "```py\na **b"],
    ["| a | b", ""],
    ["| a | b |\n|:-", ""],
    ["| a | b |\n|--|--|", "| a | b |\n|--|--|"],
    ["| a | b |\n|--|--|\n| 1", "| a | b |\n|--|--|\n| 1"],
  ])("%j is shown as %j", (text, shown) => {
    expect(settled(text)).toBe(shown);
  });

  test("what is shown is the beginning of what is shown next, but for closing marks", () => {
    const bare = (text: string) => text.replace(/[*`~]/g, "").trimEnd();
    for (const text of ANSWERS) {
      const visible = (part: string) => {
        const all = blocks(part);
        return [...all.slice(0, -1), settled(all.at(-1) ?? "")].join("\n");
      };
      let before = "";
      for (let length = 1; length <= text.length; length += 1) {
        const now = bare(visible(text.slice(0, length)));
        expect(now.startsWith(before.slice(0, -1))).toBe(true);
        before = now;
      }
    }
  });
});
