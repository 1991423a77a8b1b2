import { mount } from "../ui";
import { App } from "./App";
import "./session.css";

mount(<App />);
