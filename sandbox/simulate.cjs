// Plays battles with Showdown's own simulator and prints them as the site's replays: real logs for the sandbox.
// Run: node sandbox/simulate.cjs --package node_modules/pokemon-showdown --battles 2000 --seed 1 > replays.jsonl
// (`npm i --omit=optional --ignore-scripts pokemon-showdown@0.11.11`). The same seed and count give the same bytes.

const path = require('node:path');
const { parseArgs } = require('node:util');

const text = (value) => ({ type: 'string', default: value });
const { values: options } = parseArgs({ options: { package: text(), battles: text('2000'), seed: text('1') } });
if (!options.package) throw new Error('--package must be the folder of pokemon-showdown');
const load = (module) => require(path.resolve(options.package, 'dist', module));
const { Dex, PRNG, Teams, Utils, toID } = load('sim');
const { Battle, extractChannelMessages } = load('sim/battle');
const { RandomPlayerAI } = load('sim/tools/random-player-ai');

const EPOCH = 1_795_000_000;
const SPECTATOR = 0;
const OMNISCIENT = -1;
const BEST_OF = 3;

const BO3 = 'gen9championsvgc2026regmbbo3';
const FORMATS = [
  { id: 'gen9randombattle', share: 33 },
  { id: 'gen1randombattle', share: 8 },
  { id: 'gen4randombattle', share: 5 },
  { id: 'gen7randombattle', share: 8 },
  { id: 'gen9randomdoublesbattle', share: 10 },
  { id: 'gen9freeforallrandombattle', share: 6 },
  { id: 'gen9ou', share: 18, teams: 'gen9randombattle' },
  { id: BO3, share: 6, teams: 'gen9championsrandombattle', level: 50 },
  { id: 'gen9ou', share: 2, teams: 'gen9randombattle', prefix: 'smogtours-gen9ou', event: 'Tournament battle' },
  { id: 'gen5ou', share: 1, teams: 'gen5randombattle', prefix: 'ou', name: 'OU' },
];
// Battle numbers are shared by all formats of a server and grow with time.
const NUMBERING = {
  smogtours: { first: 871_000, perSecond: 0.01 },
  ou: { first: 20_650_000, perSecond: 0.1 },
  main: { first: 2_480_000_000, perSecond: 4 },
};

// Every decision comes from here. The numbered seed is spread over all bits of the simulator's 64-bit generator.
const mixedSeed = BigInt.asUintN(64, BigInt(options.seed) * 0x9e3779b97f4a7c15n);
const random = new PRNG(`gen5,${mixedSeed.toString(16).padStart(16, '0')}`);
const chance = (percent) => random.random() * 100 < percent;
const between = (low, high) => random.random(low, high + 1);
const hex = () => random.random(65536).toString(16).padStart(4, '0');
const newSeed = () => `gen5,${hex()}${hex()}${hex()}${hex()}`;

function weighted(items, weight) {
  let left = random.random() * items.reduce((sum, item) => sum + weight(item), 0);
  return items.find((item) => (left -= weight(item)) < 0) ?? items.at(-1);
}

const FIRST = ['Swift', 'Iron', 'Salty', 'Lazy', 'Shiny', 'Ace', 'Mega', 'Toxic', 'Frosty', 'Lucky', 'Grim', 'Neo', 'xX', 'The'];
const LAST = ['Gible', 'Snorlax', 'Trainer', 'Rival', 'Berry', 'Moth', 'Kabuto', 'Wolf', 'Tornado', 'Pancake', 'Ghost', 'Ditto'];
const ODD_NAMES = [
  'O\'Brien', 'Say "Hi"', 'Tom & Jerry', 'Rock&Roll', 'Ash-Ketchum', 'Ash–Ketchum', 'Poke\u0301mon Fan', 'sen\u0303or', 'Cafe\u0301 ☕',
  'Star★Platinum', '50% Off', 'HP < 30', 'alert<em>it<em>', 'aa href=#xy', 'R&ampB', 'Mime\'s Pal', 'and/or', 'Back\\Slash',
  'win', 'tie', 'null', '0', '007', 'Player 12', 'Guestbook 12', 'Zz', 'Pika⚡', '777 <33', 'nobr <br> xx', 'pikachu ピカチュウ',
  'min 성공', 'eighteen letters 1',
  // Servers that switch the name filter off allow these too.
  'José', 'Zoë Müller', 'Fire 🔥 Starter', 'Łukasz',
];

const PLAIN_NAMES = FIRST.flatMap((first) => LAST.flatMap((last) => [`${first} ${last}`, `${first}${last}${between(1, 99)}`]));
random.shuffle(PLAIN_NAMES);
const NAMES = [...ODD_NAMES, ...PLAIN_NAMES].slice(0, 300);
const AVATARS = ['1', '2', '101', '102', '170', '265', '266', 'acetrainer', 'lucas-gen4pt', '#bw2elesa'];
const NICKNAMES = ['Mr. Fluff', 'gg', '50% off', 'ポチ', 'Rock & Roll', 'p2a: fake', 'tie', '<i>x', 'it\'s me'];

function pickPlayers(count) {
  const names = new Map();
  while (names.size < count) {
    const name = random.sample(NAMES);
    names.set(toID(name), name);
  }
  return [...names.values()].map((name) => ({ name, avatar: random.sample(AVATARS) }));
}

function makeTeam(format) {
  const team = Teams.getGenerator(format.teams, newSeed()).getTeam();
  for (const pokemon of team) {
    if (chance(15)) pokemon.name = random.sample(NICKNAMES);
    if (format.level) pokemon.level = format.level;
  }
  return team;
}

// Ratings as server/ladders-remote.ts computes them for the main server, by format and player.
const ladder = new Map();

function ratingOf(format, player) {
  const key = `${format.id} ${toID(player.name)}`;
  if (!ladder.has(key)) ladder.set(key, chance(40) ? 1000 : between(1000, 1850));
  return ladder.get(key);
}

function calculateElo(oldElo, score, foeElo) {
  let factor = 50;
  if (oldElo < 1100 && score < 0.5) factor = 20 + (oldElo - 1000) * 0.3;
  else if (oldElo < 1100 && score > 0.5) factor = 80 - (oldElo - 1000) * 0.3;
  else if (oldElo > 1300) factor = 40;
  return Math.round(Math.max(1000, oldElo + factor * (score - 1 / (1 + 10 ** ((foeElo - oldElo) / 400)))));
}

function updateRatings(room, winner) {
  const scores = room.players.map(({ name }) => (winner ? Number(winner === name) : 0.5));
  const old = room.players.map((player) => ratingOf(room.format, player));
  const now = old.map((elo, i) => calculateElo(elo, scores[i], old[1 - i]));
  room.players.forEach((player, i) => {
    const act = { 1: 'winning', 0: 'losing', 0.5: 'tying' }[scores[i]];
    const change = `${now[i] < old[i] ? '' : '+'}${now[i] - old[i]} for ${act}`;
    room.say(Utils.html`|raw|${player.name}'s rating: ${old[i]} &rarr; <strong>${now[i]}</strong><br />(${change})`);
    ladder.set(`${room.format.id} ${toID(player.name)}`, now[i]);
  });
  room.rating = Math.min(...now);
}

const takenNumbers = new Set();

function nextNumber(prefix, start) {
  const { first, perSecond } = NUMBERING[prefix.split('-')[0]] ?? NUMBERING.main;
  let number = first + Math.floor((start - EPOCH) * perSecond);
  while (takenNumbers.has(number)) number++;
  takenNumbers.add(number);
  return number;
}

/** The log of one battle: the simulator's lines with our clock, between the lines that the server writes itself. */
class Room {
  rating = null;
  lines = [];
  read = 0;
  gone = new Set();

  constructor(format, players, { start, rated }) {
    Object.assign(this, { format, players, rated, clock: start });
    this.id = `${format.prefix ?? format.id}-${nextNumber(format.prefix ?? format.id, start)}`;
    for (const { name } of players) this.say(`|j|☆${name}`);
  }

  begin(botOptions = { move: 0.85, mega: 0.5 }) {
    const rated = this.format.event ?? (this.rated && 'Rated battle');
    this.battle = new Battle({ formatid: this.format.id, seed: newSeed(), rated, send: () => {} });
    this.players.forEach((player, i) => {
      const rating = this.rated ? ratingOf(this.format, player) : 0;
      this.battle.setPlayer(`p${i + 1}`, { ...player, rating, seed: newSeed() });
    });
    this.bots = this.battle.sides.map((side) => {
      const stream = { write: (choice) => this.battle.choose(side.id, choice) };
      return new Bot(stream, { ...botOptions, seed: newSeed() });
    });
    this.flush();
  }

  say(line) {
    this.lines.push(line);
  }

  /** Move the simulator's new lines into the log. */
  flush() {
    for (; this.read < this.battle.log.length; this.read++) {
      const line = this.battle.log[this.read];
      if (line.startsWith('|t:|') && this.read) this.clock += between(1, 9);
      this.say(line.startsWith('|t:|') ? `|t:|${this.clock}` : line);
    }
  }

  leave(side) {
    if (this.gone.has(side.id)) return;
    this.gone.add(side.id);
    this.say(`|l|☆${side.name}`);
    const time = this.hasTimerBank ? '300 seconds' : 'a minute';
    if (!this.battle.ended) this.say(`|inactive|${side.name} disconnected and has ${time} to reconnect!`);
    this.say(`|player|${side.id}|`);
  }

  get hasTimerBank() {
    return this.battle.ruleTable.has('dctimerbank');
  }

  /** The replay's log: exact HP for random teams, percent for teams that somebody built. */
  get log() {
    const channel = this.battle.format.team ? OMNISCIENT : SPECTATOR;
    const log = extractChannelMessages(this.lines.join('\n'), [channel])[channel].join('\n') + '\n';
    return this.format.name ? log.replace(`|tier|${this.battle.format.name}\n`, `|tier|${this.format.name}\n`) : log;
  }

  toReplay() {
    const format = this.format.name ?? this.battle.format.name;
    const uploaded = this.clock + (chance(85) ? between(3, 90) : between(90, 900));
    return {
      id: this.id, format, formatid: toID(format), players: this.players.map(({ name }) => name), log: this.log,
      uploadtime: uploaded, rating: this.rating, views: String(Math.floor(random.random() ** 4 * 400)),
    };
  }
}

class Bot extends RandomPlayerAI {
  receiveError() {}

  chooseMove(active, moves) {
    const move = super.chooseMove(active, moves);
    return active.canTerastallize && this.prng.randomChance(1, 4) ? `${move} terastallize` : move;
  }

  chooseTeamPreview(team) {
    const order = team.map((_, i) => i + 1);
    this.prng.shuffle(order);
    return `team ${order.join('')}`;
  }
}

function forfeit(room, side, message = ' forfeited.') {
  room.say(`|-message|${side.name}${message}`);
  if (room.players.length > 2) room.say(`|player|${side.id}|`);
  room.battle.lose(side.id);
}

/** Let the timer run out for some players, with the lines that the server writes on the way. */
function runTimer(room, sides, away) {
  const { name } = random.sample(room.players);
  room.say(`|inactive|Battle timer is ON: inactive players will automatically lose when time's up. (requested by ${name})`);
  if (away) for (const side of sides) room.leave(side);
  for (const left of [270, 240, 210, 180, 150, 120, 90, 60, 30, 20, 15, 10, 5]) {
    if (left >= (!away ? 150 : room.hasTimerBank ? 300 : 60)) continue;
    for (const side of sides) room.say(`|inactive|${side.name} has ${left} seconds ${away ? 'to reconnect!' : 'left.'}`);
  }
  room.clock += away && room.hasTimerBank ? 300 : away ? 60 : 150;
}

function timeOut(room, side) {
  // A player who is there but idle does not lose with the VGC timer: it chooses for them.
  runTimer(room, [side], room.hasTimerBank || chance(50));
  forfeit(room, side, ' lost due to inactivity.');
}

function tieByInactivity(room) {
  if (room.hasTimerBank) return;
  runTimer(room, room.battle.sides, false);
  room.say('|-message|All players are inactive.');
  room.battle.tie();
}

function agreeOnTie(room) {
  const [first, second] = room.battle.sides;
  room.say(`${first.name} is offering a tie.`);
  room.say(`${second.name} accepted the tie.`);
  room.battle.tie();
}

const ENDINGS = {
  forfeit: { share: 10, end: forfeit },
  inactivity: { share: 5, end: timeOut },
  idleTie: { share: 1, end: tieByInactivity },
  staffTie: { share: 1, end: (room) => room.battle.tie() },
  // A tie can be offered from turn 100 on, so these players mostly switch.
  agreedTie: { share: 1, end: agreeOnTie, turn: 100, bots: { move: 0.04 } },
  played: { share: 82 },
};

function planEnding(format) {
  const kinds = Object.keys(ENDINGS).filter((kind) => format.players === 2 || !kind.endsWith('Tie'));
  const ending = ENDINGS[weighted(kinds, (kind) => ENDINGS[kind].share)];
  return { turn: between(1, 9), ...ending };
}

const CHAT = [
  'hello', 'glhf', 'gg', 'gg wp', 'lol', 'nice crit...', 'that was |win|me right there', 'i want a |tie', '<b>bold?</b>',
  'n1 🔥', 'é bom', '>start', '👏👏', '/log is not a command', 'so lucky & so "skilled"', '||spoiler||', 'wow what a read!!',
];

function planEvents(room) {
  const events = [];
  const add = (turn, line) => events.push({ turn, line });
  for (let i = chance(15) ? between(1, 6) : 0; i; i--) {
    add(between(0, 25), `|c|☆${random.sample(room.players).name}|${random.sample(CHAT)}`);
  }
  for (let i = chance(20) ? between(1, 3) : 0; i; i--) {
    const name = random.sample(NAMES);
    if (room.players.some((player) => player.name === name)) continue;
    const rank = chance(80) ? ' ' : random.sample(['+', '%', '@']);
    const turn = between(0, 12);
    add(turn, `|j|${rank}${name}${chance(10) ? '@!' : ''}`);
    if (chance(15)) add(turn + 1, `|c|${rank}${name}|${random.sample(CHAT)}`);
    if (chance(70)) add(turn + between(2, 20), `|l|${rank}${name}`);
  }
  return events.sort((a, b) => a.turn - b.turn);
}

function sayUntil(room, events, turn) {
  while (events.length && events[0].turn <= turn) room.say(events.shift().line);
}

/** Ask every player once; an answer that the simulator refuses is asked for again, then replaced by its own choice. */
function chooseAll({ battle, bots }) {
  battle.sides.forEach((side, i) => {
    const request = side.activeRequest;
    const isWaiting = () => request && !request.wait && side.activeRequest === request && !side.isChoiceDone();
    for (let tries = 0; tries < 10 && isWaiting(); tries++) bots[i].receiveRequest(request);
    if (isWaiting()) battle.choose(side.id, 'default');
  });
}

function play(room) {
  const { battle, format } = room;
  let ending = room.ending;
  const events = planEvents(room);
  while (!battle.ended) {
    room.flush();
    sayUntil(room, events, battle.turn);
    if (ending.end && battle.turn >= ending.turn && battle.requestState === 'move') {
      ending.end(room, random.sample(battle.sides));
      ending = {};
    } else chooseAll(room);
  }
  room.flush();
  if (room.rated && format.id !== BO3) updateRatings(room, battle.winner);
  sayUntil(room, events, Infinity);
}

function leaveAfterwards(room) {
  if (chance(40)) for (const side of room.battle.sides) if (chance(75)) room.leave(side);
}

function playSingle(format, players, { start, rated }) {
  const room = new Room(format, players, { start, rated });
  room.ending = planEnding(format);
  room.begin(room.ending.bots);
  play(room);
  leaveAfterwards(room);
  return [room];
}

/** Play games until one player has won the set; server/room-battle-bestof.ts writes the same lines. */
function playSet(format, players, { start, rated }) {
  const setId = `game-bestof${BEST_OF}-${format.id}-${nextNumber(format.id, start)}`;
  const games = [];
  do {
    const room = new Room(format, players, { start: games.at(-1)?.clock ?? start, rated });
    room.say(scoreLine(players, games));
    games.push(room);
    room.say(`|uhtml|bestof|<h2><strong>Game ${games.length}</strong> of <a href="/${setId}">a best-of-${BEST_OF}</a></h2>`);
    games.at(-2)?.say(`|uhtml|next|Next: <a href="/battle-${room.id}"><strong>Game ${games.length} of ${BEST_OF}</strong></a>`);
    room.ending = planEnding(format);
    room.begin();
    play(room);
    if (!isSetOver(players, games)) confirmNextGame(room, games.length + 1);
  } while (!isSetOver(players, games));
  finishSet(games.at(-1), players, games);
  return games;
}

const winsOf = (name, games) => games.filter(({ battle }) => battle.winner === name).length;
const winsNeeded = (games) => Math.floor((BEST_OF - winsOf('', games)) / 2) + 1;

function isSetOver(players, games) {
  if (games.length === BEST_OF || games.at(-1).gone.size) return true;
  return players.some(({ name }) => winsOf(name, games) >= winsNeeded(games));
}

function scoreLine([left, right], games) {
  const won = ({ name }) => '<i class="fa fa-circle"></i> '.repeat(winsOf(name, games));
  const open = ({ name }) => '<i class="fa fa-circle-o"></i> '.repeat(winsNeeded(games) - winsOf(name, games));
  return Utils.html`|html|<table width="100%"><tr><td align="left">${left.name}</td><td align="right">${right.name}</tr>` +
    `<tr><td align="left">${won(left)}${open(left)}</td><td align="right">${open(right)}${won(right)}</tr></table>`;
}

function confirmNextGame(room, number) {
  const [first, second] = random.random(2) ? room.players : [...room.players].reverse();
  room.say(`||${first.name} is ready for game ${number}.`);
  if (chance(30)) room.say(`|inactive|${second.name} has 30 seconds to confirm battle start!`);
  room.say(`||${second.name} is ready for game ${number}.`);
  room.clock += between(4, 25);
}

/** The whole set counts for the ratings, and its last game shows them. */
function finishSet(room, players, games) {
  const [first, second] = players.map(({ name }) => winsOf(name, games));
  const winner = room.gone.size ? room.battle.winner : first === second ? '' : players[Number(second > first)].name;
  if (room.rated) updateRatings(room, winner);
  leaveAfterwards(room);
}

function playMatch(start) {
  const format = { ...weighted(FORMATS, ({ share }) => share) };
  format.players = Dex.formats.get(format.id).playerCount;
  const players = pickPlayers(format.players);
  if (format.teams) for (const player of players) player.team = makeTeam(format);
  const rated = format.players === 2 && !format.event && chance(58);
  return (format.id === BO3 ? playSet : playSingle)(format, players, { start, rated });
}

function* matches() {
  for (let start = EPOCH; ; start += between(5, 80)) yield* playMatch(start).map((room) => room.toReplay());
}

function main(count) {
  const replays = [];
  for (const replay of matches()) if (replays.push(replay) === count) break;
  replays.sort((a, b) => a.uploadtime - b.uploadtime);
  replays.forEach((replay, i) => {
    replay.uploadtime = Math.max(replay.uploadtime, (replays[i - 1]?.uploadtime ?? EPOCH) + 1);
  });
  process.stdout.write(replays.map((replay) => JSON.stringify(replay) + '\n').join(''));
}

main(Number(options.battles));
