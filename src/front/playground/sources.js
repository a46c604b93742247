// What can be published: the camera, the screen, or a drawn pattern with a tone.

const FRAMES_PER_SECOND = 30;

/**
 * Opens a source.
 *
 * @param {"camera"|"screen"|"pattern"} kind
 * @param {{height: number, label: string, video?: boolean, audio?: boolean}} wish `height` in
 *   pixels, 16:9; `label` is drawn into the pattern
 * @returns {Promise<{stream: MediaStream, close: () => void}>} `close` gives devices and timers back
 * @throws {DOMException} as getUserMedia does when the user or the browser says no
 */
export async function openSource(kind, wish) {
  if (kind === "pattern") return openPattern(wish);
  if (!navigator.mediaDevices) {
    throw new DOMException("insecure", "InsecureContextError");
  }
  const size = { width: { ideal: (wish.height * 16) / 9 }, height: { ideal: wish.height } };
  const stream = kind === "screen"
    ? await navigator.mediaDevices.getDisplayMedia({ video: { ...size, frameRate: FRAMES_PER_SECOND }, audio: true })
    : await navigator.mediaDevices.getUserMedia({ video: { ...size, frameRate: FRAMES_PER_SECOND }, audio: true });
  return { stream, close: () => stream.getTracks().forEach((track) => track.stop()) };
}

/** Why a source could not be opened, in words. */
export function sourceProblem(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The browser did not allow it. Look for the camera or screen permission near the address bar.";
    case "NotFoundError":
    case "OverconstrainedError":
      return "No camera or microphone was found. The test pattern works without one.";
    case "NotReadableError":
      return "The camera or microphone is in use by another program.";
    case "InsecureContextError":
      return "Browsers give camera and screen only to https pages and to localhost. The test pattern works here too.";
    default:
      return `The source could not be opened: ${error.message}`;
  }
}

/**
 * Colour bars, a moving square, a clock, a frame counter; a short beep and a flash on each full
 * second, so that lip sync can be judged by eye and ear.
 */
function openPattern({ height, label, video = true, audio = true }) {
  const stream = new MediaStream();
  const closers = [];
  if (video) {
    const picture = openPicture((height * 16) / 9, height, label);
    stream.addTrack(picture.track);
    closers.push(picture.close);
  }
  if (audio) {
    const tone = openTone();
    stream.addTrack(tone.track);
    closers.push(tone.close);
  }
  return { stream, close: () => closers.forEach((close) => close()) };
}

function openPicture(width, height, label) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pen = canvas.getContext("2d", { alpha: false });
  const [track] = canvas.captureStream(FRAMES_PER_SECOND).getVideoTracks();
  let frame = 0;
  const draw = () => {
    drawPattern(pen, width, height, frame, label);
    frame += 1;
  };
  draw();
  const stopTicking = tick(1000 / FRAMES_PER_SECOND, draw);
  return {
    track,
    close: () => {
      stopTicking();
      track.stop();
    },
  };
}

/** Calls `action` every `ms`, also while the tab is hidden: the timers of a worker are not throttled. */
function tick(ms, action) {
  const code = `setInterval(() => postMessage(0), ${ms})`;
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url);
  worker.onmessage = action;
  return () => {
    worker.terminate();
    URL.revokeObjectURL(url);
  };
}

const BARS = ["#bfbfbf", "#bfbf00", "#00bfbf", "#00bf00", "#bf00bf", "#bf0000", "#0000bf"];

function drawPattern(pen, width, height, frame, label) {
  const now = new Date();
  const unit = height / 18;
  const barHeight = unit * 10;
  BARS.forEach((colour, i) => {
    pen.fillStyle = colour;
    pen.fillRect(Math.floor((i * width) / BARS.length), 0, Math.ceil(width / BARS.length), barHeight);
  });
  for (let i = 0; i < 16; i += 1) {
    const level = Math.round((i * 255) / 15);
    pen.fillStyle = `rgb(${level} ${level} ${level})`;
    pen.fillRect(Math.floor((i * width) / 16), barHeight, Math.ceil(width / 16), unit * 2);
  }
  pen.fillStyle = "#10150f";
  pen.fillRect(0, barHeight + unit * 2, width, height);

  // A square that crosses the bars once in four seconds, up and down once in three.
  const size = unit * 3;
  const across = (now.getTime() % 4000) / 4000;
  const down = Math.abs(((now.getTime() % 3000) / 1500) - 1);
  pen.fillStyle = "#fff";
  pen.fillRect(across * (width + size) - size, down * (barHeight - size), size, size);
  pen.fillStyle = "#111";
  pen.fillRect(across * (width + size) - size * 0.75, down * (barHeight - size) + size / 4, size / 2, size / 2);

  const middle = barHeight + unit * 5;
  pen.textBaseline = "middle";
  pen.fillStyle = "#f4f7f2";
  pen.font = `600 ${unit * 2.4}px ui-monospace, monospace`;
  pen.textAlign = "left";
  pen.fillText(now.toISOString().slice(11, 23), unit, middle - unit);
  pen.font = `${unit * 1.2}px ui-sans-serif, system-ui, sans-serif`;
  pen.fillStyle = "#a9b8a8";
  pen.fillText(`${label}   ${width} × ${height}   frame ${frame}`, unit, middle + unit * 1.2);

  // A clock hand that turns once per second, and a flash at the top of the second.
  const radius = unit * 2.2;
  const centre = width - unit * 3.4;
  const part = now.getMilliseconds() / 1000;
  pen.beginPath();
  pen.arc(centre, middle, radius, 0, Math.PI * 2);
  pen.fillStyle = part < BEEP_SECONDS ? "#fff" : "#26332a";
  pen.fill();
  pen.beginPath();
  pen.moveTo(centre, middle);
  pen.arc(centre, middle, radius, -Math.PI / 2, -Math.PI / 2 + part * Math.PI * 2);
  pen.closePath();
  pen.fillStyle = "#4cc27d";
  pen.fill();
}

const BEEP_SECONDS = 0.1;

/** A quiet hum with a beep at the top of each second of the wall clock. */
function openTone() {
  const context = new AudioContext();
  const out = context.createMediaStreamDestination();
  const voice = (frequency, level) => {
    const oscillator = context.createOscillator();
    const gain = context.createGain();
    oscillator.frequency.value = frequency;
    gain.gain.value = level;
    oscillator.connect(gain).connect(out);
    oscillator.start();
    return gain.gain;
  };
  voice(220, 0.02);
  const beep = voice(880, 0);
  const schedule = () => {
    const untilSecond = 1 - (Date.now() % 1000) / 1000;
    const at = context.currentTime + untilSecond;
    beep.setValueAtTime(0.25, at);
    beep.setValueAtTime(0, at + BEEP_SECONDS);
  };
  const stopTicking = tick(1000, schedule);
  // Without a click on the page the browser may hold sound back; the first click lets it go.
  const wake = () => context.resume();
  addEventListener("pointerdown", wake);
  addEventListener("keydown", wake);
  wake();
  return {
    track: out.stream.getAudioTracks()[0],
    close: () => {
      removeEventListener("pointerdown", wake);
      removeEventListener("keydown", wake);
      stopTicking();
      context.close();
    },
  };
}
