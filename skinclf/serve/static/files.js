// Files from a drop, a choice or the clipboard, named and ordered as the command line would.

// Endings that are looked for in folders; files that are named one by one are always sent.
export const ENDINGS = new Set(
  (
    ".jpg .jpeg .jpe .jif .jfif .jfi .pjpeg .pjp .mpo .png .apng .bmp .dib .tif .tiff .webp .gif .avif .avifs " +
    ".jp2 .j2k .j2c .jpc .jpf .jpx .ppm .pgm .pnm .heic .heif .hif .heics .heifs .dcm .dicom"
  ).split(" "),
);

/** Key of the natural order: `img2` before `img10`. */
export function naturalKey(name) {
  return name.replace(/\d+/g, (digits) => {
    const number = digits.replace(/^0+/, "");
    return `0${String.fromCharCode(48 + number.length)}${number}`;
  });
}

/** Compares as Python does, by code points. */
function byText(a, b) {
  const [left, right] = [[...a], [...b]];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    if (left[i] !== right[i]) return left[i].codePointAt(0) - right[i].codePointAt(0);
  }
  return left.length - right.length;
}

const byName = (a, b) => byText(naturalKey(a), naturalKey(b)) || byText(a, b);

/** Paths in the order of a recursive search: files of a folder before its subfolders, each in natural order. */
export function byPath(a, b) {
  const [left, right] = [a.split("/"), b.split("/")];
  for (let i = 0; ; i++) {
    const [lastLeft, lastRight] = [i === left.length - 1, i === right.length - 1];
    if (lastLeft !== lastRight) return lastLeft ? -1 : 1;
    const order = byName(left[i], right[i]);
    if (order !== 0 || lastLeft) return order;
  }
}

const ending = (name) => name.slice(name.lastIndexOf(".")).toLowerCase();
const hidden = (name) => name.split("/").some((part) => part.startsWith("."));
const isImage = ({ name }) => name.includes(".") && ENDINGS.has(ending(name)) && !hidden(name);

function fromFolder(found) {
  const images = found.filter(isImage).sort((a, b) => byPath(a.name, b.name));
  return { files: images, leftOut: found.length - images.length };
}

/** Files of an input element; those of a folder are named by their path from that folder on. */
export function chosen(list) {
  const files = [...list].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
  return files.some(({ file }) => file.webkitRelativePath) ? fromFolder(files) : { files, leftOut: 0 };
}

/** Files of the clipboard; a copied picture has no name of its own. */
export function pasted(list, start) {
  const named = [...list].map((file, i) => {
    const plain = file.name === "" || /^image\.\w+$/.test(file.name);
    return { file, name: plain ? `pasted-${start + i}.${file.type.split("/")[1] || "png"}` : file.name };
  });
  return { files: named, leftOut: 0 };
}

/** Files and folders of a drop, folders searched with everything in them. */
export async function dropped(transfer) {
  // Entries have to be taken before the first wait: the list is empty afterwards.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? null);
  const plain = items.map((item) => item.getAsFile());
  const files = [];
  let leftOut = 0;
  for (const [i, entry] of entries.entries()) {
    if (entry?.isDirectory) {
      const inside = fromFolder(await walk(entry));
      files.push(...inside.files);
      leftOut += inside.leftOut;
    } else if (plain[i]) files.push({ file: plain[i], name: plain[i].name });
  }
  return { files, leftOut };
}

async function walk(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    // A reader hands out its entries in portions; an empty one ends the list.
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (portion.length === 0) return found;
    for (const entry of portion) {
      if (entry.isDirectory) found.push(...(await walk(entry)));
      else {
        const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
        found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      }
    }
  }
}
