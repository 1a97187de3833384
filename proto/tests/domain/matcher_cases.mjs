// Writes a table of cases with the answers of the npm module `matcher`: every tricky case by hand, then random ones.
//   npm install matcher@6.1.0 && node matcher_cases.mjs COUNT SEED FILE
// `matcher_cases.json` was written with COUNT 400 and SEED 7. To compare a larger table:
//   REALTIME_MATCHER_CASES=FILE cargo test -p realtime-proto --test domain matcher
import {isMatch} from 'matcher';
import fs from 'node:fs';
const [count, start, file] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
let seed = start;
const rnd = n => { seed = (seed * 1103515245 + 12345) & 0x7fffffff; return (seed >>> 8) % n; };
const pick = a => a[rnd(a.length)];
const hand = [
 [[], 'a'], [[], ''], [[''], ''], [[''], 'a'], [['!'], ''], [['!'], 'a'], [['*'], ''], [['*'], 'a\nb'], [['**'], ''], [['***a***'], 'bAb'],
 [['a*'], 'A'], [['a*a'], 'a'], [['a*a'], 'aa'], [['a*b*a'], 'aba'], [['a*b*a'], 'aa'], [['ab*ba'], 'aba'], [['ab*ba'], 'abba'],
 [['secure/*'], 'secure/logs/x'], [['secure/*'], 'Secure/x'], [['secure/*'], 'secure'], [['*/x/*'], 'a/x/b'], [['*/x/*'], '/x/'],
 [['!a'], 'a'], [['!a'], 'b'], [['!a', 'b'], 'b'], [['!a', 'b'], 'c'], [['b', '!b'], 'b'], [['*', '!b*'], 'bc'], [['*', '!b*'], 'c'], [['!b*', '*'], 'c'], [['!*'], ''], [['!*'], 'x'],
 [['!!a'], '!a'], [['!!a'], 'a'], [['\\!a'], '!a'], [['\\!a'], 'a'], [['!\\!a'], '!a'], [['!\\!a'], 'x'],
 [['\\*'], '*'], [['\\*'], 'a'], [['\\*'], '\\*'], [['\\\\*'], '\\abc'], [['\\\\*'], '*'], [['\\\\\\*'], '\\*'], [['\\\\\\*'], '\\a'], [['a\\'], 'a\\'], [['a\\'], 'a'], [['\\'], '\\'], [['\\'], ''], [['*\\'], 'x\\'], [['\\a'], 'a'], [['\\a'], 'A'], [['\\n'], 'n'], [['\\n'], '\n'], [['\\\u00e9'], '\u00c9'], [['\\\ud83d\ude00'], '\ud83d\ude00'], [['\\\ud83d\ude00*'], '\ud83d\ude00x'],
 [['a?c'], 'abc'], [['a?c'], 'a?c'], [['a.c'], 'abc'], [['[ab]'], 'a'], [['[ab]'], '[AB]'], [['{a,b}'], 'a'], [['(a|b)'], 'a'], [['^a$'], 'a'], [['a+'], 'aa'], [['a+'], 'A+'], [['$&*'], '$&x'],
 [['a\nb'], 'A\nB'], [['a*b'], 'a\n\r\u2028\u2029b'], [['*\n*'], 'x\ny'], [['a'], 'a\n'], [['a*'], 'a\n'],
 [['straße'], 'STRASSE'], [['straße'], 'STRAßE'], [['straẞe'], 'straße'], [['é'], 'É'], [['É*'], 'étude'], [['e\u0301'], 'É'], [['σ'], 'ς'], [['Σ'], 'ς'], [['Σ'], 'σ'], [['ſ'], 's'], [['s'], 'ſ'], [['S'], 'ſ'], [['ſ'], 'ſ'], [['K'], 'k'], [['k'], '\u212a'], [['\u212a'], 'K'], [['\u212a'], 'k'], [['å'], '\u212b'], [['\u212b'], 'å'], [['\u2126'], 'ω'], [['i'], 'ı'], [['I'], 'ı'], [['ı'], 'ı'], [['i'], 'İ'], [['İ'], 'i'], [['İ'], 'İ'], [['İ'], 'i\u0307'], [['µ'], 'μ'], [['μ'], 'µ'], [['µ'], 'Μ'], [['ŉ'], 'ʼN'], [['ﬁ'], 'FI'], [['ﬁ'], 'ﬁ'], [['ǆ'], 'ǅ'], [['Ǆ'], 'ǅ'], [['\u{10428}'], '\u{10400}'], [['\u{10400}'], '\u{10400}'], [['я*'], 'ЯЩ'], [['ᾳ'], 'ᾼ'], [['ᾀ'], 'ᾈ'], [['ⱥ'], 'Ⱥ'], [['ɐx'], 'Ɐx'], [['ა'], 'Ა'], [['ꭰ'], 'Ꭰ'], [['ß*İ'], 'ßxxİ'], [['ÿ'], 'Ÿ'], [['ͅ'], 'ι'], [['ι'], '\u1fbe'], [['θ'], 'ϑ'], [['ϴ'], 'θ'], [['ẛ'], 'ṡ'], [['日*本'], '日x本'], [['*本'], '日本'], [['日*'], '日'],
 [['a*', 'b*', '!*z'], 'by'], [['a*', 'b*', '!*z'], 'bz'], [['a*', 'b*', '!*z'], 'c'], [['!a', '!b'], 'c'], [['!a', '!b'], 'B'], [['', 'a'], ''], [['', '!a'], 'x'],
 [['aaaaaaaaaaaaaaaa*aaaaaaaaaaaaaaa*b'], 'a'.repeat(60)], [['*a'.repeat(20) + '*b'], 'a'.repeat(60)], [['*ab*aab*'], 'aaab'], [['*aab*ab'], 'aabab'], [['*abc*bcd'], 'abcd'], [[' a '], 'a'], [[' a '], ' A '],
];
const alphabet = ['a','A','b','B','*','*','*','\\','!','/','x','é','É','ß','ı','ſ','σ','ς','\n','😀','\u{10428}','İ','.','µ'];
const text = max => { let s=''; const n = rnd(max+1); for (let i=0;i<n;i++) s += pick(alphabet); return s; };
// Makes a text that the pattern is likely to match.
const near = p => { let s=''; p = p.replace(/^!/, ''); for (let i=0;i<p.length;i++) { const c = String.fromCodePoint(p.codePointAt(i)); if (c.length>1) i++; if (c==='*') s += text(3); else if (c==='\\' && i+1<p.length) continue; else s += rnd(4) ? c : (rnd(2) ? c.toUpperCase() : c.toLowerCase()); } return s; };
const cases = [...hand];
while (cases.length < count + hand.length) {
  const patterns = Array.from({length: 1 + rnd(3)}, () => text(7));
  cases.push([patterns, rnd(3) ? near(pick(patterns)) : text(6)]);
}
// JSON for Rust holds no lone surrogates.
const ok = s => !/[\uD800-\uDFFF]/u.test(s);
const rows = cases.filter(([p,t]) => ok(t) && p.every(ok)).map(([p,t]) => ({patterns:p, text:t, insensitive:isMatch(t,p), sensitive:isMatch(t,p,{caseSensitive:true})}));
fs.writeFileSync(file, '[\n' + rows.map(r => JSON.stringify(r)).join(',\n') + '\n]\n');
