import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "../style/colours.css";
import "../style/base.css";
import "../style/input.css";
import "../style/answer.css";
import "../style/timeline.css";
import "../style/screens.css";
import { Page } from "../views/page";
import { answerHere } from "./client";

const root = document.getElementById("page");
if (!root) throw new Error("the page has no #page");
render(<Page ask={answerHere} local />, root);
